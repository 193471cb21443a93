#pragma once

#include "nn/module.h"

namespace vtrain {

/// x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang, Sennrich, arXiv:1910.07467).
///   x (..., dim) -> (..., dim); weight (dim)
class RmsNorm final : public Module {
 public:
  explicit RmsNorm(int64_t dim, double eps = 1e-6);
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  double eps_;
  Parameter weight_;
};

}  // namespace vtrain
