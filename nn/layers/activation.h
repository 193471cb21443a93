#pragma once

#include "nn/module.h"
#include "tensor/ops/batch_norm.h"

namespace vtrain {

/// max(x, 0), or min(max(x, 0), 6): Howard et al., "MobileNets", arXiv:1704.04861. A module, so
/// that its input and output are places a method can reach.
class Relu final : public Module {
 public:
  explicit Relu(bool is_capped_at_6 = false) : is_capped_at_6_(is_capped_at_6) {}
  Variable forward(const Variable& x, const Pass& pass) override;
  /// The same as the last part of a batch normalisation.
  BatchNormActivation fused() const {
    return is_capped_at_6_ ? BatchNormActivation::kRelu6 : BatchNormActivation::kRelu;
  }

 private:
  bool is_capped_at_6_;
};

}  // namespace vtrain
