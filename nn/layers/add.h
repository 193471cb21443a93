#pragma once

#include "nn/module.h"

namespace vtrain {

/// a + b, of a residual branch. A module, so that the sum is a place a method can reach: its input
/// and its output are the sum.
class Add final : public Module {
 public:
  using Module::operator();
  Variable operator()(const Variable& a, const Variable& b, const Pass& pass);
  Variable forward(const Variable& x, const Pass& pass) override;  // the sum as it is
};

}  // namespace vtrain
