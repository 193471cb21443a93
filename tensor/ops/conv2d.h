#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Along height and width; one number serves both.
struct Extent2d {
  int64_t h = 1, w = 1;
  constexpr Extent2d(int64_t both) : h(both), w(both) {}  // NOLINT(google-explicit-constructor)
  constexpr Extent2d(int64_t height, int64_t width) : h(height), w(width) {}
  friend bool operator==(const Extent2d&, const Extent2d&) = default;
};

/// Rows and columns of zeros around an image; one number serves all sides.
struct Padding2d {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  constexpr Padding2d(int64_t all)  // NOLINT(google-explicit-constructor)
      : top(all), bottom(all), left(all), right(all) {}
  constexpr Padding2d(int64_t above, int64_t below, int64_t before, int64_t behind)
      : top(above), bottom(below), left(before), right(behind) {}
  friend bool operator==(const Padding2d&, const Padding2d&) = default;
};

struct Conv2dOptions {
  Extent2d stride = 1;
  Padding2d padding = 0;
  Extent2d dilation = 1;  // 1: none
  int64_t groups = 1;
  friend bool operator==(const Conv2dOptions&, const Conv2dOptions&) = default;
};

/// y = x * w + b, a cross-correlation as in every framework:
///   y[n, o, i, j] = b[o] + sum over c, p, q of
///                   w[o, c, p, q] x[n, g C + c, stride.h i + dilation.h p - padding.top, ...]
///   x  (N, Cin, H, W)                 w  (Cout, Cin / groups, kh, kw), C = Cin / groups
///   b  (Cout) or undefined            g = o / (Cout / groups), the group of o
///   y  (N, Cout, H', W'), channels last; H' = floor((H + top + bottom - dilation.h (kh - 1) - 1) /
///   stride.h) + 1
/// x and w are f32, f64 or bf16, b in f32 if they are bf16. Throws ShapeError.
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const Conv2dOptions& options = {});

/// The gradients of sum(y * dy). dx is channels last and has dy's dtype; dw and db are f32 where dy
/// is bf16: they are sums over all positions, and an optimizer's.
Tensor conv2d_grad_x(const Tensor& dy, const Tensor& w, const Shape& x_shape,
                     const Conv2dOptions& options = {});
Tensor conv2d_grad_w(const Tensor& dy, const Tensor& x, const Shape& w_shape,
                     const Conv2dOptions& options = {});
Tensor conv2d_grad_b(const Tensor& dy);

/// Shape of y. Throws ShapeError where x, w and options do not fit, as conv2d does.
Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dOptions& options);

struct Conv2dKernels {
  /// x, y, dy and dx channels last; w and dw contiguous; b f32 or as x, or undefined.
  void (*forward)(const Tensor& x, const Tensor& w, const Tensor& b, const Conv2dOptions& options,
                  Tensor& y);
  void (*grad_x)(const Tensor& dy, const Tensor& w, const Conv2dOptions& options, Tensor& dx);
  void (*grad_w)(const Tensor& dy, const Tensor& x, const Conv2dOptions& options, Tensor& dw);
};
inline constinit PerDevice<Conv2dKernels> conv2d_kernels{"conv2d"};

}  // namespace vtrain
