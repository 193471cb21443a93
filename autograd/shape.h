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
/// x[:, :, ::step, ::step] of x (N, C, H, W).
Variable subsample(const Variable& x, int64_t step);
/// x (N, C, H, W) with `front` channels of zeros before its own and `back` behind them.
Variable pad_channels(const Variable& x, int64_t front, int64_t back);
Variable concat(const std::vector<Variable>& parts, int dim);
/// x repeated to `shape` by broadcasting.
Variable expand(const Variable& x, const Shape& shape);

}  // namespace vtrain
