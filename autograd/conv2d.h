#pragma once

#include "autograd/variable.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {

/// y = x * w + b, as tensor/ops/conv2d.h says.   x (N, Cin, H, W) -> (N, Cout, H', W'); b may be
/// undefined. The gradient of an x that needs none, a network's images, is not computed: it costs
/// as much as the forward pass.
Variable conv2d(const Variable& x, const Variable& w, const Variable& b,
                const Conv2dOptions& options = {});

}  // namespace vtrain
