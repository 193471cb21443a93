#include "compress/deploy/steps/product_steps.h"

namespace vtrain {
namespace {

class LinearStep final : public ProductStep {
 public:
  using ProductStep::ProductStep;

  bool reads(size_t i, const Tensor& x, const Tensor& y) const override {
    return i == 0 ? has_even_rows(x) : x.strides() == y.strides();
  }

  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch& scratch) override {
    return bind_linear(weights(), epilogue(), operands(inputs, output), scratch);
  }
};

const RegisteredStep registered("linear",
                                [](const Graph::Node& node,
                                   const PlanValues& values) -> std::unique_ptr<PlanStep> {
                                  if (!has_constant_weights(node, values)) return nullptr;
                                  return std::make_unique<LinearStep>(node, values);
                                });

}  // namespace
}  // namespace vtrain
