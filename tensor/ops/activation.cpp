#include "tensor/ops/activation.h"

#include "tensor/ops/memory_order.h"

namespace vtrain {

Tensor activation(ActivationKind kind, const Tensor& x, double slope) {
  check_real("activation", "x", x);
  return activation_kernels.on(x.device()).forward(kind, dense(x), slope);
}

Tensor activation_grad(ActivationKind kind, const Tensor& x, const Tensor& dy, double slope) {
  check_real("activation_grad", "x", x);
  check_same_shape("activation_grad", "x", x, "dy", dy);
  check_same_dtype("activation_grad", "x", x, "dy", dy);
  const Tensor dense_x = dense(x);
  return activation_kernels.on(x.device()).grad(kind, dense_x, in_order_of(dense_x, dy), slope);
}

}  // namespace vtrain
