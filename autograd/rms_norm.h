#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// x / sqrt(mean(x^2) + eps) * weight over the last axis: tensor/ops/rms_norm.h.   x (..., C),
/// weight (C) or undefined
Variable rms_norm(const Variable& x, const Variable& weight, double eps);

}  // namespace vtrain
