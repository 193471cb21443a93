#pragma once

#include "nn/module.h"

namespace vtrain {

/// Group normalisation (Wu, He, arXiv:1803.08494): autograd/group_norm.h.   x (N, C, ...) -> like
/// x; weight, bias (C)
class GroupNorm final : public Module {
 public:
  GroupNorm(int64_t groups, int64_t channels, double eps = 1e-5);
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  int64_t groups_;
  double eps_;
  Parameter weight_, bias_;
};

}  // namespace vtrain
