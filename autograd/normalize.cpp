#include "autograd/normalize.h"

#include "tensor/ops/cross_entropy.h"
#include "tensor/ops/gelu.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/softmax.h"

namespace vtrain {

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  const auto optional = [](const Variable& v) { return v.defined() ? v.value() : Tensor(); };
  const auto [y, mean, rstd] = layer_norm(x.value(), optional(weight), optional(bias), eps);
  const Saved kept_x = x.value(), kept_w = optional(weight), kept_b = optional(bias);
  Variable result =
      Variable::from({"layer_norm", {{"eps", eps}}}, y, {x, weight, bias},
                     [x = kept_x, w = kept_w, mean = mean, rstd = rstd](const Tensor& dy) {
                       const auto grads = layer_norm_grad(x.get(), w.get(), mean, rstd, dy);
                       return Grads{grads.dx, grads.dweight, grads.dbias};
                     });
  result.set_again([x = kept_x, w = kept_w, b = kept_b, eps] {
    return layer_norm(x.get(), w.get(), b.get(), eps).y;
  });
  return result;
}

Variable gelu(const Variable& x) {
  const Saved kept = x.value();
  Variable y = Variable::from({"gelu"}, gelu(x.value()), {x}, [kept](const Tensor& dy) {
    return Grads{gelu_grad(kept.get(), dy)};
  });
  y.set_again([kept] { return gelu(kept.get()); });
  return y;
}

Variable softmax(const Variable& x, int dim) {
  const Tensor y = softmax(x.value(), dim);
  return Variable::from({"softmax", {{"dim", dim}}}, y, {x}, [y = Saved(y), dim](const Tensor& dy) {
    return Grads{softmax_grad(y.get(), dy, dim)};
  });
}

Variable log_softmax(const Variable& x, int dim) {
  const Tensor y = log_softmax(x.value(), dim);
  return Variable::from(
      {"log_softmax", {{"dim", dim}}}, y, {x},
      [y = Saved(y), dim](const Tensor& dy) { return Grads{log_softmax_grad(y.get(), dy, dim)}; });
}

Variable cross_entropy(const Variable& logits, const Tensor& targets) {
  const auto [loss, probabilities] = cross_entropy(logits.value(), targets);
  return Variable::from({"cross_entropy"}, loss, {logits},
                        [p = Saved(probabilities), t = Saved(targets)](const Tensor& dy) {
                          return Grads{cross_entropy_grad(p.get(), t.get(), dy)};
                        });
}

}  // namespace vtrain
