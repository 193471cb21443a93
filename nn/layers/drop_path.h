#pragma once

#include "nn/module.h"

namespace vtrain {

/// Stochastic depth, per sample: in training a branch is dropped with probability `rate`, survivors
/// are scaled by 1 / (1 - rate). Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016,
/// arXiv:1603.09382.   x (N, ...)
class DropPath final : public Module {
 public:
  explicit DropPath(double rate) : rate_(rate) {}
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  double rate_;
};

}  // namespace vtrain
