#include "tensor/ops/conv2d.h"

#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

void check_image(const char* op, const char* name, const Tensor& x) {
  check_real(op, name, x);
  if (x.ndim() != 4)
    throw ShapeError(str('[', op, "] ", name, ' ', x.shape(), ": expected (N, C, H, W)"));
  if (x.dim(0) == 0)
    throw ShapeError(str('[', op, "] ", name, ' ', x.shape(), ": the batch is empty"));
}

void check_w(const char* op, const Tensor& w, const Tensor& like, const char* like_name) {
  check_real(op, "w", w);
  check_same_dtype(op, like_name, like, "w", w);
}

void check_dy(const char* op, const Tensor& dy, const Shape& y_shape) {
  check_image(op, "dy", dy);
  if (dy.shape() != y_shape)
    throw ShapeError(str('[', op, "] dy ", dy.shape(), ": expected ", y_shape));
}

int64_t positions(int64_t extent, int64_t padding, int64_t kernel, int64_t dilation,
                  int64_t stride) {
  const int64_t reach = extent + padding - dilation * (kernel - 1) - 1;
  return reach < 0 ? 0 : reach / stride + 1;
}

}  // namespace

Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dOptions& o) {
  if (x.size() != 4) throw ShapeError(str("[conv2d] x ", x, ": expected (N, C, H, W)"));
  const auto& [stride, padding, dilation, groups] = o;
  if (stride.h < 1 || stride.w < 1 || dilation.h < 1 || dilation.w < 1 || groups < 1)
    throw ShapeError("[conv2d] options: expected stride, dilation and groups of at least 1");
  if (padding.top < 0 || padding.bottom < 0 || padding.left < 0 || padding.right < 0)
    throw ShapeError("[conv2d] options: expected padding of at least 0");
  if (w.size() != 4 || numel_of(w) == 0)
    throw ShapeError(str("[conv2d] w ", w, ": expected (Cout, Cin / groups, kh, kw)"));
  if (w[1] * groups != x[1]) {
    throw ShapeError(str("[conv2d] w ", w, ": expected ", x[1] / groups, " input channels for x ",
                         x, " with groups ", groups, ", got ", w[1]));
  }
  if (w[0] % groups != 0)
    throw ShapeError(
        str("[conv2d] w ", w, ": expected a multiple of ", groups, " output channels"));
  Shape y{x[0], w[0], positions(x[2], padding.top + padding.bottom, w[2], dilation.h, stride.h),
          positions(x[3], padding.left + padding.right, w[3], dilation.w, stride.w)};
  if (y[2] < 1 || y[3] < 1)
    throw ShapeError(str("[conv2d] x ", x, ": is smaller, padding included, than w ", w));
  return y;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, const Conv2dOptions& options) {
  check_image("conv2d", "x", x);
  check_w("conv2d", w, x, "x");
  Tensor y = Tensor::empty_channels_last(conv2d_shape(x.shape(), w.shape(), options), x.dtype(),
                                         x.device());
  if (b.defined()) {
    if (b.shape() != Shape{w.dim(0)})
      throw ShapeError(str("[conv2d] b ", b.shape(), ": expected (Cout) for w ", w.shape()));
    if (b.dtype() != wide_of(x.dtype())) {
      throw ShapeError(
          str("[conv2d] b: expected ", name_of(wide_of(x.dtype())), ", got ", b.text()));
    }
  }
  conv2d_kernels.on(x.device())
      .forward(x.channels_last(), w.contiguous(), b.defined() ? b.contiguous() : b, options, y);
  return y;
}

Tensor conv2d_grad_x(const Tensor& dy, const Tensor& w, const Shape& x_shape,
                     const Conv2dOptions& options) {
  constexpr const char* op = "conv2d_grad_x";
  check_dy(op, dy, conv2d_shape(x_shape, w.shape(), options));
  check_w(op, w, dy, "dy");
  Tensor dx = Tensor::empty_channels_last(x_shape, dy.dtype(), dy.device());
  conv2d_kernels.on(dy.device()).grad_x(dy.channels_last(), w.contiguous(), options, dx);
  return dx;
}

Tensor conv2d_grad_w(const Tensor& dy, const Tensor& x, const Shape& w_shape,
                     const Conv2dOptions& options) {
  constexpr const char* op = "conv2d_grad_w";
  check_image(op, "x", x);
  check_dy(op, dy, conv2d_shape(x.shape(), w_shape, options));
  check_same_dtype(op, "dy", dy, "x", x);
  Tensor dw = Tensor::empty(w_shape, wide_of(dy.dtype()), dy.device());
  conv2d_kernels.on(dy.device()).grad_w(dy.channels_last(), x.channels_last(), options, dw);
  return dw;
}

Tensor conv2d_grad_b(const Tensor& dy) {
  check_image("conv2d_grad_b", "dy", dy);
  // Rows of channels, as they lie in memory.
  const Tensor image = dy.channels_last();
  const int64_t channels = dy.dim(1);
  return sum_rows(image.view({dy.numel() / channels, channels}, {channels, 1}, 0));
}

}  // namespace vtrain
