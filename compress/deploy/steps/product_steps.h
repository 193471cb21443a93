#pragma once

#include "compress/deploy/product.h"

namespace vtrain {

/// What convolution and linear layers share: constant weights, and the ops behind them that go into
/// their pass: batch norm into the weights, then a residual sum, then an activation, or a cast.
class ProductStep : public PlanStep {
 public:
  ProductStep(const Graph::Node& node, const PlanValues& values);
  std::vector<size_t> may_overwrite() const override;

 protected:
  bool absorb(const Graph::Node& node, size_t own, const PlanValues& values) override;
  const ProductWeights& weights() const { return weights_; }
  const Epilogue& epilogue() const { return epilogue_; }
  static ProductOperands operands(const std::vector<Tensor>& inputs, const Tensor& output);

 private:
  DType dtype_;  // of the result
  ProductWeights weights_;
  Epilogue epilogue_;
};

/// The weight and bias of a node are numbers in the network, and its dtype one that products have.
bool has_constant_weights(const Graph::Node& node, const PlanValues& values);

}  // namespace vtrain
