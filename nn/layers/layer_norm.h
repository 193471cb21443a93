#pragma once

#include "nn/module.h"

namespace vtrain {

/// Layer normalisation over the last axis (Ba, Kiros, Hinton, arXiv:1607.06450).   x (..., dim) ->
/// (..., dim)
class LayerNorm final : public Module {
 public:
  explicit LayerNorm(int64_t dim, double eps = 1e-6);
  Variable forward(const Variable& x, const Pass& pass) override;
  double eps() const { return eps_; }

 private:
  double eps_;
  Parameter weight_, bias_;
};

}  // namespace vtrain
