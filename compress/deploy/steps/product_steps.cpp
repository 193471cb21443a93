#include "compress/deploy/steps/product_steps.h"

#include "compress/deploy/fold.h"

namespace vtrain {

bool has_constant_weights(const Graph::Node& node, const PlanValues& values) {
  const auto is_constant = [&](int v) {
    return v < 0 || values[static_cast<size_t>(v)].constant.defined();
  };
  const DType dtype = values[static_cast<size_t>(node.inputs[0])].dtype;
  return is_constant(node.inputs[1]) && is_constant(node.inputs[2]) &&
         (dtype == DType::f32 || dtype == DType::bf16);
}

ProductStep::ProductStep(const Graph::Node& node, const PlanValues& values)
    : PlanStep(node, {node.inputs[0]}),
      dtype_(values[static_cast<size_t>(node.output)].dtype),
      weights_(constant_of(node.inputs[1], values), constant_of(node.inputs[2], values)) {}

bool ProductStep::absorb(const Graph::Node& node, size_t own, const PlanValues& values) {
  const std::string& op = node.op.name;
  const PlanValue& result = values[static_cast<size_t>(node.output)];
  const bool is_bare = !epilogue_.has_residual && epilogue_.activation == PlanActivation::kNone;
  if (op == "batch_norm") {
    if (!is_bare || own != 0 || node.inputs[3] >= 0 || attribute(node, "activation") != 0)
      return false;
    const FoldedProduct folded =
        fold(weights_.weight(), weights_.bias(), scale_shift_of(node, values));
    weights_.set(folded.weight, folded.bias);
    return true;
  }
  if (op == "cast") {  // a result that is kept wide
    if (!is_bare || result.dtype != DType::f32) return false;
    dtype_ = result.dtype;
    return true;
  }
  if (result.dtype != dtype_) return false;
  if (op != "add") return extend(epilogue_, node);
  const int other = node.inputs[1 - own];
  const PlanValue& residual = values[static_cast<size_t>(other)];
  // What is the same for every image would be repeated for each.
  if (residual.constant.defined() || residual.shape != result.shape ||
      residual.grows != result.grows || residual.dtype != dtype_ || !extend(epilogue_, node))
    return false;
  add_input(other);
  return true;
}

std::vector<size_t> ProductStep::may_overwrite() const {
  return epilogue_.has_residual ? std::vector<size_t>{1} : std::vector<size_t>{};
}

ProductOperands ProductStep::operands(const std::vector<Tensor>& inputs, const Tensor& output) {
  return {.x = inputs[0], .residual = inputs.size() > 1 ? inputs[1] : Tensor(), .y = output};
}

}  // namespace vtrain
