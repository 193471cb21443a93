#pragma once

#include "nn/module.h"

namespace vtrain {

/// gelu(x) = 0.5 x (1 + erf(x / sqrt 2)), as a module, so that its input and output are places a
/// method can reach.
class Gelu final : public Module {
 public:
  Variable forward(const Variable& x, const Pass& pass) override;
};

}  // namespace vtrain
