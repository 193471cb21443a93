#include "autograd/dropout.h"

#include "tensor/ops/dropout.h"

namespace vtrain {

Variable dropout(const Variable& x, const Tensor& noise, double rate) {
  const auto [y, kept] = dropout(x.value(), noise, rate);
  return Variable::from(
      {"dropout", {{"rate", rate}}}, y, {x},
      [kept = kept, rate](const Tensor& dy) { return Grads{dropout_grad(dy, kept, rate)}; });
}

}  // namespace vtrain
