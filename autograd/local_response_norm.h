#pragma once

#include "autograd/variable.h"
#include "tensor/ops/local_response_norm.h"

namespace vtrain {

/// x_c / (k + alpha / n * sum of neighbours' x^2)^beta across channels of x (N, C, H, W):
/// tensor/ops/local_response_norm.h.
Variable local_response_norm(const Variable& x, const LocalResponseNormOptions& options);

}  // namespace vtrain
