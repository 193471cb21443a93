#include "autograd/activation.h"

#include <utility>

#include "tensor/ops/activation.h"

namespace vtrain {
namespace {

const char* name_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu6:
      return "relu6";
    case ActivationKind::kLeakyRelu:
      return "leaky_relu";
    case ActivationKind::kSigmoid:
      return "sigmoid";
    case ActivationKind::kTanh:
      return "tanh";
    case ActivationKind::kSilu:
      return "silu";
    case ActivationKind::kGeluTanh:
      return "gelu_tanh";
    case ActivationKind::kHardSigmoid:
      return "hard_sigmoid";
    case ActivationKind::kHardSwish:
      return "hard_swish";
  }
  return "";
}

Variable applied(Op op, ActivationKind kind, const Variable& x, double slope) {
  return Variable::from(std::move(op), activation(kind, x.value(), slope), {x},
                        [x = Saved(x.value()), kind, slope](const Tensor& dy) {
                          return Grads{activation_grad(kind, x.get(), dy, slope)};
                        });
}

}  // namespace

Variable activation(ActivationKind kind, const Variable& x) {
  if (kind == ActivationKind::kLeakyRelu)
    throw ShapeError("[activation] leaky_relu: expected a slope; call leaky_relu(x, slope)");
  return applied({name_of(kind)}, kind, x, 0);
}

Variable leaky_relu(const Variable& x, double slope) {
  constexpr ActivationKind kKind = ActivationKind::kLeakyRelu;
  return applied({name_of(kKind), {{"slope", slope}}}, kKind, x, slope);
}

}  // namespace vtrain
