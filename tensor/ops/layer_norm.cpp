#include "tensor/ops/layer_norm.h"

namespace vtrain {
namespace {

void check_rows(const char* op, const Tensor& x) {
  check_real(op, "x", x);
  if (x.ndim() == 0) throw ShapeError(str('[', op, "] x ", x.shape(), ": expected (..., C)"));
}

/// Contiguous, or undefined if it was.
Tensor vector_like(const char* op, const char* name, const Tensor& v, const Tensor& x,
                   const char* what, int64_t length) {
  if (!v.defined()) return v;
  check_wide_dtype(op, "x", x, name, v);
  if (v.shape() != Shape{length}) {
    throw ShapeError(str('[', op, "] ", name, ' ', v.shape(), ": expected (", length, "), one per ",
                         what, " of x ", x.shape()));
  }
  return v.contiguous();
}

int64_t rows_of(const Tensor& x) { return x.dim(-1) > 0 ? x.numel() / x.dim(-1) : 0; }

}  // namespace

LayerNormOutput layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  constexpr const char* op = "layer_norm";
  check_rows(op, x);
  return layer_norm_kernels.on(x.device())
      .forward(x.contiguous(), vector_like(op, "weight", weight, x, "channel", x.dim(-1)),
               vector_like(op, "bias", bias, x, "channel", x.dim(-1)), eps);
}

LayerNormGrads layer_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& mean,
                               const Tensor& rstd, const Tensor& dy) {
  constexpr const char* op = "layer_norm_grad";
  check_rows(op, x);
  check_real(op, "dy", dy);
  check_same_shape(op, "x", x, "dy", dy);
  check_same_dtype(op, "x", x, "dy", dy);
  check_floating(op, "mean", mean);
  check_floating(op, "rstd", rstd);
  return layer_norm_kernels.on(x.device())
      .grad(x.contiguous(), vector_like(op, "weight", weight, x, "channel", x.dim(-1)),
            vector_like(op, "mean", mean, x, "row", rows_of(x)),
            vector_like(op, "rstd", rstd, x, "row", rows_of(x)), dy.contiguous());
}

}  // namespace vtrain
