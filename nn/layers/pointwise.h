#pragma once

#include "nn/module.h"
#include "tensor/ops/activation_kind.h"

namespace vtrain {

/// An activation as a module, so that its input and output are places a method can reach. Formulas
/// and sources: tensor/ops/activation_kind.h. (Relu and Gelu have files of their own: the first is
/// fused with batch normalisation, the second is the exact form.)
class Pointwise : public Module {
 public:
  explicit Pointwise(ActivationKind kind) : kind_(kind) {}
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  ActivationKind kind_;
};

template <ActivationKind kKind>
class PointwiseOf final : public Pointwise {
 public:
  PointwiseOf() : Pointwise(kKind) {}
};
using Relu6 = PointwiseOf<ActivationKind::kRelu6>;
using Sigmoid = PointwiseOf<ActivationKind::kSigmoid>;
using Tanh = PointwiseOf<ActivationKind::kTanh>;
using Silu = PointwiseOf<ActivationKind::kSilu>;
using GeluTanh = PointwiseOf<ActivationKind::kGeluTanh>;
using HardSigmoid = PointwiseOf<ActivationKind::kHardSigmoid>;
using HardSwish = PointwiseOf<ActivationKind::kHardSwish>;

class LeakyRelu final : public Module {
 public:
  explicit LeakyRelu(double slope) : slope_(slope) {}
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  double slope_;
};

}  // namespace vtrain
