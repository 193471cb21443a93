#pragma once

#include "nn/module.h"
#include "tensor/ops/local_response_norm.h"

namespace vtrain {

/// Normalisation across neighbouring channels (Krizhevsky, Sutskever, Hinton, NIPS 2012):
/// tensor/ops/local_response_norm.h.   x (N, C, H, W) -> (N, C, H, W)
class LocalResponseNorm final : public Module {
 public:
  explicit LocalResponseNorm(const LocalResponseNormOptions& options = {}) : options_(options) {}
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  LocalResponseNormOptions options_;
};

}  // namespace vtrain
