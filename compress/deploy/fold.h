#pragma once

#include <vector>

#include "compress/deploy/plan_step.h"

namespace vtrain {

/// What batch norm does in evaluation, in double: y_c = scale_c x_c + shift_c, with scale = weight
/// / sqrt(running_var + eps) and shift = bias - running_mean scale.
struct ScaleShift {
  std::vector<double> scale, shift;
};

/// Of a batch_norm node whose statistics are constant. Throws Error if it would use the batch's.
ScaleShift scale_shift_of(const Graph::Node& node, const PlanValues& values);

/// (weight, bias) of a product followed by `after`, rounded once: weight_o scale_o and bias_o
/// scale_o + shift_o.   weight (out, ...), bias (out) or undefined  ->  f32, the bias defined
struct FoldedProduct {
  Tensor weight, bias;
};
FoldedProduct fold(const Tensor& weight, const Tensor& bias, const ScaleShift& after);

/// The number behind a constant: what a cast rounded, where there is one, is read unrounded.
Tensor constant_of(int value, const PlanValues& values);

}  // namespace vtrain
