#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// x in another floating dtype; its gradient comes back in x's own.
Variable cast(const Variable& x, DType dtype);

/// Ops that move values without arithmetic.
Variable reshape(const Variable& x, const Shape& shape);  // one extent may be -1
Variable transpose(const Variable& x, int a, int b);
Variable slice(const Variable& x, int axis, int64_t begin, int64_t end);
Variable select(const Variable& x, int axis, int64_t index);  // drops the axis
Variable concat(const std::vector<Variable>& parts, int dim);
/// x repeated to `shape` by broadcasting.
Variable expand(const Variable& x, const Shape& shape);

}  // namespace vtrain
