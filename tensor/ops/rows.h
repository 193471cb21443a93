#pragma once

#include <vector>

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Token index mathematics: rows are the second axis of x (N, L, ...), C elements each.

/// Entries of an index that are out of range throw ShapeError where the device can tell: the CPU
/// does.
///
/// y[n, j] = x[n, index[n, j]].   x (N, L, C), index (N, K) i32 with entries in [0, L)  ->  (N, K,
/// C)
Tensor gather_rows(const Tensor& x, const Tensor& index);
/// dx (N, L, C): dy's rows added at index, zero elsewhere. Sources of one row are added in
/// ascending j: no atomics. f32 where dy is bf16, since a row may be a sum.
Tensor gather_rows_grad(const Tensor& dy, const Tensor& index, int64_t rows);

/// The k highest of each row of score (N, P), as ascending positions (N, k) i32. A tie keeps the
/// lower position, NaN ranks last. Throws ShapeError unless 1 <= k <= P.
Tensor select_top(const Tensor& score, int64_t k);

/// (N, count + K) i32: 0 .. count - 1, then the entries of index (N, K) moved up by count.
/// Positions among all tokens where index has those behind `count` special ones.
Tensor lead_with(const Tensor& index, int64_t count);

/// Concatenation along `dim`; other extents equal. Channels last where all parts run over channels
/// first, else contiguous.
Tensor concat(const std::vector<Tensor>& parts, int dim);

/// (N, C, H, W) f32, f64 or bf16 -> (N, H/p * W/p, C*p*p): rows in raster order, a row ordered
/// (c, y, x) as a convolution's weight is. Throws ShapeError unless p divides H and W.
Tensor patchify(const Tensor& images, int64_t patch);
Tensor patchify_grad(const Tensor& dy, int64_t patch, const Shape& image_shape);

struct RowsKernels {
  Tensor (*gather)(const Tensor& x, const Tensor& index);
  Tensor (*gather_grad)(const Tensor& dy, const Tensor& index, int64_t rows);
  Tensor (*select_top)(const Tensor& score, int64_t k);
  Tensor (*lead_with)(const Tensor& index, int64_t count);
  Tensor (*patchify)(const Tensor& images, int64_t patch);
  Tensor (*patchify_grad)(const Tensor& dy, int64_t patch, const Shape& image_shape);
};
inline constinit PerDevice<RowsKernels> rows_kernels{"rows"};

}  // namespace vtrain
