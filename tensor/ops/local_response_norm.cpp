#include "tensor/ops/local_response_norm.h"

namespace vtrain {
namespace {

void check(const char* op, const Tensor& x, const LocalResponseNormOptions& options) {
  check_real(op, "x", x);
  if (x.ndim() != 4) throw ShapeError(str('[', op, "] x ", x.shape(), ": expected (N, C, H, W)"));
  if (x.dim(0) == 0) throw ShapeError(str('[', op, "] x ", x.shape(), ": the batch is empty"));
  if (options.size < 1)
    throw ShapeError(str('[', op, "] size: expected at least 1, got ", options.size));
  if (!(options.k > 0)) throw ShapeError(str('[', op, "] k: expected above 0, got ", options.k));
}

}  // namespace

Tensor local_response_norm(const Tensor& x, const LocalResponseNormOptions& options) {
  check("local_response_norm", x, options);
  Tensor y = Tensor::empty_channels_last(x.shape(), x.dtype(), x.device());
  local_response_norm_kernels.on(x.device()).forward(x.channels_last(), options, y);
  return y;
}

Tensor local_response_norm_grad(const Tensor& x, const Tensor& dy,
                                const LocalResponseNormOptions& options) {
  check("local_response_norm_grad", x, options);
  check_same_shape("local_response_norm_grad", "x", x, "dy", dy);
  check_same_dtype("local_response_norm_grad", "x", x, "dy", dy);
  Tensor dx = Tensor::empty_channels_last(x.shape(), x.dtype(), x.device());
  local_response_norm_kernels.on(x.device())
      .grad(x.channels_last(), dy.channels_last(), options, dx);
  return dx;
}

}  // namespace vtrain
