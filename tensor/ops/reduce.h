#pragma once

#include <vector>

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Sum over `dims` (all if empty), which are dropped, or kept with extent 1.
///   x  f32 or f64; f32 is accumulated in double (over columns: runs of 64 rows in f32), in an
///   order that does not depend on threads
/// Throws ShapeError if a dim is out of range or named twice.
Tensor sum(const Tensor& x, std::vector<int> dims = {}, bool keep_dims = false);
Tensor mean(const Tensor& x, std::vector<int> dims = {}, bool keep_dims = false);

/// (C): the sums of the columns of x (rows, C), the gradient of a bias. In x's dtype, but in f32
/// for bf16: a bias is f32. Accumulated as `sum` does.
Tensor sum_rows(const Tensor& x);

/// The sum of x over what broadcasting repeated: the gradient of a broadcast from `shape` to x's
/// shape.
Tensor sum_to(const Tensor& x, const Shape& shape);

/// (N) i32: the index of each row's largest value of x (N, K); the lowest index of a tie.
Tensor argmax_rows(const Tensor& x);

/// For each row of logits (N, K), how many classes score above that of labels (N) i32, ties counted
/// by index: a rank from 0.
std::vector<int64_t> label_ranks(const Tensor& logits, const Tensor& labels);

struct ReduceKernels {
  /// x viewed as (outer, axis, inner), contiguous: y (outer, inner) sums over the middle.
  Tensor (*sum_middle)(const Tensor& x, int64_t outer, int64_t axis, int64_t inner);
  Tensor (*argmax_rows)(const Tensor& x);
  Tensor (*sum_rows)(const Tensor& x);  // (rows, C) contiguous
};
inline constinit PerDevice<ReduceKernels> reduce_kernels{"reduce"};

}  // namespace vtrain
