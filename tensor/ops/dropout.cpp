#include "tensor/ops/dropout.h"

#include "tensor/ops/memory_order.h"

namespace vtrain {
namespace {

void check_rate(const char* op, double rate) {
  if (!(rate >= 0 && rate < 1))
    throw ShapeError(str('[', op, "] rate: expected 0 <= rate < 1, got ", rate));
}

}  // namespace

DropoutOutput dropout(const Tensor& x, const Tensor& noise, double rate) {
  check_real("dropout", "x", x);
  check_same_shape("dropout", "x", x, "noise", noise);
  if (noise.dtype() != DType::f32)
    throw ShapeError(str("[dropout] noise: expected f32, got ", noise.text()));
  check_rate("dropout", rate);
  const Tensor dense_x = dense(x);
  return dropout_kernels.on(x.device()).forward(dense_x, in_order_of(dense_x, noise), rate);
}

Tensor dropout_grad(const Tensor& dy, const Tensor& kept, double rate) {
  check_real("dropout_grad", "dy", dy);
  check_same_shape("dropout_grad", "dy", dy, "kept", kept);
  if (kept.dtype() != DType::u8)
    throw ShapeError(str("[dropout_grad] kept: expected u8, got ", kept.text()));
  check_rate("dropout_grad", rate);
  const Tensor dense_kept = dense(kept);
  return dropout_kernels.on(dy.device()).grad(in_order_of(dense_kept, dy), dense_kept, rate);
}

}  // namespace vtrain
