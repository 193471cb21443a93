#pragma once

#include <cstdint>

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace vtrain {

/// A gradient on 2^bits levels between -m and m, the largest of each sample, rounded up or down at
/// random so that its mean stays: Zhou et al., "DoReFa-Net", arXiv:1606.06160, eq. 12.
///   y = 2 m (rne(n clip(dy / (2 m) + 1/2 + u / n, 0, 1)) / n - 1/2),  n = 2^bits - 1
///   u uniform in (-1/2, 1/2), a function of the stream, the step, the sample and the element
///   dy (N, ...) floating  ->  like dy; a sample of zeros stays zeros
Tensor rounded_gradient(const Tensor& dy, int64_t bits, const Random& random, RandomPosition at);

}  // namespace vtrain
