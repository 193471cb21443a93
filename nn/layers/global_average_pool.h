#pragma once

#include "nn/module.h"

namespace vtrain {

/// The mean over all positions.   x (N, C, H, W) -> (N, C)
class GlobalAveragePool final : public Module {
 public:
  Variable forward(const Variable& x, const Pass& pass) override;
};

}  // namespace vtrain
