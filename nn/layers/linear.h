#pragma once

#include "nn/module.h"

namespace vtrain {

/// y = x weight^T + bias.   x (..., in) -> (..., out); weight (out, in), bias (out). Weights start
/// normal with std 0.02 (timm).
class Linear final : public Module {
 public:
  Linear(int64_t in, int64_t out);
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  Parameter weight_, bias_;
};

}  // namespace vtrain
