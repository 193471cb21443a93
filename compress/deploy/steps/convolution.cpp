#include "compress/deploy/conv2d_node.h"
#include "compress/deploy/steps/product_steps.h"

namespace vtrain {
namespace {

class ConvolutionStep final : public ProductStep {
 public:
  ConvolutionStep(const Graph::Node& node, const PlanValues& values)
      : ProductStep(node, values), options_(conv2d_options(node)) {}

  bool reads(size_t i, const Tensor& x, const Tensor& y) const override {
    return i == 0 ? x.is_channels_last() : x.strides() == y.strides();
  }

  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch& scratch) override {
    return bind_convolution(weights(), options_, epilogue(), operands(inputs, output), scratch);
  }

 private:
  Conv2dOptions options_;
};

const RegisteredStep registered("conv2d",
                                [](const Graph::Node& node,
                                   const PlanValues& values) -> std::unique_ptr<PlanStep> {
                                  if (!has_constant_weights(node, values)) return nullptr;
                                  return std::make_unique<ConvolutionStep>(node, values);
                                });

}  // namespace
}  // namespace vtrain
