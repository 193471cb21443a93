#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// x / (1 - rate) where noise >= rate, else 0 (tensor/ops/dropout.h).   noise f32, x's shape
Variable dropout(const Variable& x, const Tensor& noise, double rate);

}  // namespace vtrain
