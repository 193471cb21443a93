#pragma once

#include "autograd/variable.h"
#include "tensor/ops/pool.h"

namespace vtrain {

/// Pooling of images x (N, C, H, W) -> (N, C, H', W') over sliding windows, or over windows that
/// give the size asked for: tensor/ops/pool.h has placement, ties, padding and dtypes. Results are
/// channels last.
Variable max_pool2d(const Variable& x, const Pool2dOptions& options);
Variable average_pool2d(const Variable& x, const Pool2dOptions& options);
Variable adaptive_max_pool2d(const Variable& x, Extent2d size);
Variable adaptive_average_pool2d(const Variable& x, Extent2d size);

}  // namespace vtrain
