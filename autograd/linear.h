#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// y = x w^T + b.   x (..., in), w (out, in), b (out) or undefined  ->  (..., out)
Variable linear(const Variable& x, const Variable& w, const Variable& b);

/// z = a b over the last two axes, leading axes equal.
Variable matmul(const Variable& a, const Variable& b);

/// (N, C, H, W) -> (N, H/p * W/p, C*p*p), as tensor/ops/rows.h says.
Variable patchify(const Variable& images, int64_t patch);

}  // namespace vtrain
