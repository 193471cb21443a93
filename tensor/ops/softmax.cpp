#include "tensor/ops/softmax.h"

namespace vtrain {
namespace {

int checked(const char* op, const Tensor& y, const Tensor& dy, int dim) {
  check_real(op, "y", y);
  check_real(op, "dy", dy);
  check_same_shape(op, "y", y, "dy", dy);
  check_same_dtype(op, "y", y, "dy", dy);
  return checked_dim(op, dim, y.shape());
}

}  // namespace

Tensor softmax(const Tensor& x, int dim) {
  check_real("softmax", "x", x);
  const int axis = checked_dim("softmax", dim, x.shape());
  return softmax_kernels.on(x.device()).forward(x.contiguous(), axis);
}

Tensor log_softmax(const Tensor& x, int dim) {
  check_real("log_softmax", "x", x);
  const int axis = checked_dim("log_softmax", dim, x.shape());
  return softmax_kernels.on(x.device()).log_forward(x.contiguous(), axis);
}

Tensor softmax_grad(const Tensor& y, const Tensor& dy, int dim) {
  const int axis = checked("softmax_grad", y, dy, dim);
  return softmax_kernels.on(y.device()).grad(y.contiguous(), dy.contiguous(), axis);
}

Tensor log_softmax_grad(const Tensor& y, const Tensor& dy, int dim) {
  const int axis = checked("log_softmax_grad", y, dy, dim);
  return softmax_kernels.on(y.device()).log_grad(y.contiguous(), dy.contiguous(), axis);
}

}  // namespace vtrain
