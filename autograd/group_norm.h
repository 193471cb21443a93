#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// Every sample's channels in `groups` groups, each normalised over its channels and positions,
/// then scaled and shifted per channel. Wu, He, "Group Normalization", ECCV 2018, arXiv:1803.08494.
///   x  (N, C, ...), C a multiple of groups    weight, bias  (C), or undefined for 1 and 0
/// groups = 1 is layer normalisation over all of a sample, groups = C instance normalisation. A
/// composition of layer_norm: no network here needs it fast. Throws ShapeError.
Variable group_norm(const Variable& x, int64_t groups, const Variable& weight, const Variable& bias,
                    double eps);

}  // namespace vtrain
