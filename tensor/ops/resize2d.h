#pragma once

#include <vector>

#include "tensor/ops/conv2d.h"
#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

enum class ResizeMode { kNearest, kBilinear, kBicubic };

struct ResizeOptions {
  ResizeMode mode = ResizeMode::kBilinear;
  /// Whether corner elements keep their place, which needs no nearest; otherwise corners of the
  /// elements' areas do.
  bool align_corners = false;
};

/// A linear map along one axis: output i is the sum of weight[t] * input[source[t]] over t in
/// [start[i], start[i + 1]), sources ascending.
struct AxisMap {
  int64_t in = 0, out = 0;
  std::vector<int32_t> start = {}, source = {};
  std::vector<double> weight = {};
  AxisMap transposed() const;  // the gradient's
};
struct ResizeMaps {
  AxisMap rows, columns;
  ResizeMaps transposed() const { return {rows.transposed(), columns.transposed()}; }
};

/// How x (N, C, H, W) is resized to `size`, as PyTorch does without antialiasing: at position
/// (i + 0.5) * in / out - 0.5, or i * (in - 1) / (out - 1) with align_corners,
///   nearest   input floor(i * in / out)
///   bilinear  the two inputs around
///   bicubic   the four inputs around, Keys' kernel with a = -0.75; those beyond an end are the end
/// Throws ShapeError.
ResizeMaps resize_maps(const Shape& x, Extent2d size, const ResizeOptions& options);

/// y (N, C, maps.rows.out, maps.columns.out): one map along columns, then the other along rows.
///   x  (N, C, maps.rows.in, maps.columns.in), f32, f64 or bf16 (summed in f32)
///   y  as x, channels last
/// The gradient is the same with the transposed maps. Throws ShapeError, also for an empty batch.
Tensor resize2d(const Tensor& x, const ResizeMaps& maps);

struct Resize2dKernels {  // on channels-last tensors
  void (*apply)(const Tensor& x, const ResizeMaps& maps, Tensor& y);
};
inline constinit PerDevice<Resize2dKernels> resize2d_kernels{"resize2d"};

}  // namespace vtrain
