#include "tensor/ops/rms_norm.h"

namespace vtrain {
namespace {

void check_rows(const char* op, const Tensor& x, const Tensor& weight) {
  check_real(op, "x", x);
  if (x.ndim() == 0 || x.numel() == 0)
    throw ShapeError(str('[', op, "] x ", x.shape(), ": expected rows of at least one channel"));
  if (!weight.defined()) return;
  check_wide_dtype(op, "x", x, "weight", weight);
  if (weight.shape() != Shape{x.dim(-1)}) {
    throw ShapeError(str('[', op, "] weight ", weight.shape(), ": expected (", x.dim(-1),
                         "), one per channel of x ", x.shape()));
  }
}

Tensor contiguous_or_none(const Tensor& t) { return t.defined() ? t.contiguous() : t; }

}  // namespace

RmsNormOutput rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  check_rows("rms_norm", x, weight);
  return rms_norm_kernels.on(x.device()).forward(x.contiguous(), contiguous_or_none(weight), eps);
}

RmsNormGrads rms_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& rrms,
                           const Tensor& dy) {
  check_rows("rms_norm_grad", x, weight);
  check_same_shape("rms_norm_grad", "x", x, "dy", dy);
  check_same_dtype("rms_norm_grad", "x", x, "dy", dy);
  return rms_norm_kernels.on(x.device())
      .grad(x.contiguous(), contiguous_or_none(weight), rrms, dy.contiguous());
}

}  // namespace vtrain
