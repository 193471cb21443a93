#pragma once

#include "autograd/variable.h"
#include "tensor/ops/fake_quantize.h"

namespace vtrain {

/// tensor/ops/fake_quantize.h with its straight-through gradient. The trace has the op
/// "fake_quantize" with inputs x and scale, and attributes zero_point, low, high, and axis: 0 where
/// each slice of axis 0 has its scale, -1 where one scale serves all.
/// The scale is a constant; where it is learned, call learned_fake_quantize.
Variable fake_quantize(const Variable& x, const Tensor& scale, const CodeRange& range);

/// The same value with the gradients of learned step size quantization: of x, and of the scale
/// times `scale_gradient`, 1 / sqrt(N high) in the paper, N the elements of one sample that share
/// the scale. Zero point 0. The trace cannot tell it from the op above: what is deployed is the
/// same.
Variable learned_fake_quantize(const Variable& x, const Variable& scale, const CodeRange& range,
                               double scale_gradient);

}  // namespace vtrain
