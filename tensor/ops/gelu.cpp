#include "tensor/ops/gelu.h"

#include "tensor/ops/memory_order.h"

namespace vtrain {

Tensor gelu(const Tensor& x) {
  check_real("gelu", "x", x);
  return gelu_kernels.on(x.device()).forward(dense(x));
}

Tensor gelu_grad(const Tensor& x, const Tensor& dy) {
  check_real("gelu_grad", "x", x);
  check_real("gelu_grad", "dy", dy);
  check_same_shape("gelu_grad", "x", x, "dy", dy);
  check_same_dtype("gelu_grad", "x", x, "dy", dy);
  const Tensor dense_x = dense(x);
  return gelu_kernels.on(x.device()).grad(dense_x, in_order_of(dense_x, dy));
}

}  // namespace vtrain
