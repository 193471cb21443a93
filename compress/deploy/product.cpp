#include "compress/deploy/product.h"

#include <map>

namespace vtrain {

PlanActivation activation_of(const Graph::Node& node) {
  static const std::map<std::string, PlanActivation> kByOp = {
      {"relu", PlanActivation::kRelu},
      {"relu6", PlanActivation::kRelu6},
      {"leaky_relu", PlanActivation::kLeakyRelu},
      {"sigmoid", PlanActivation::kSigmoid},
      {"tanh", PlanActivation::kTanh},
      {"silu", PlanActivation::kSilu},
      {"gelu", PlanActivation::kGelu},
      {"gelu_tanh", PlanActivation::kGeluTanh},
      {"hard_sigmoid", PlanActivation::kHardSigmoid},
      {"hard_swish", PlanActivation::kHardSwish}};
  const auto found = kByOp.find(node.op.name);
  return found == kByOp.end() ? PlanActivation::kNone : found->second;
}

bool extend(Epilogue& epilogue, const Graph::Node& node) {
  if (epilogue.activation != PlanActivation::kNone) return false;
  if (node.op.name == "add") {
    if (epilogue.has_residual) return false;
    epilogue.has_residual = true;
    return true;
  }
  epilogue.activation = activation_of(node);
  if (epilogue.activation == PlanActivation::kLeakyRelu) epilogue.slope = attribute(node, "slope");
  return epilogue.activation != PlanActivation::kNone;
}

bool has_even_rows(const Tensor& x) {
  const Shape &shape = x.shape(), &strides = x.strides();
  if (x.ndim() == 0 || (shape.back() != 1 && strides.back() != 1)) return false;
  // Axes before the last merge into one where each steps over all of the next.
  int64_t expected = 0;
  for (size_t i = shape.size() - 1; i-- > 0;) {
    if (shape[i] == 1) continue;
    if (expected != 0 && strides[i] != expected) return false;
    expected = strides[i] * shape[i];
  }
  return true;
}

}  // namespace vtrain
