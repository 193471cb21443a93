#pragma once

#include "compress/deploy/plan.h"

namespace vtrain {

/// How far a plan is from the network it was made of.
struct PlanDifference {
  double logits = 0;             // max |difference| / max |logit|
  double worst_layer = 0;        // the same of the layer where it is largest
  std::string first_layer = {};  // the first where it is above the tolerance, or empty
  double decisions = 0;          // the largest share of images for which an op's integers differ
};

/// Runs both on images (N, C, H, W) f32, layer by layer, in f32 on the network's side. Layers that
/// the plan has fused are compared where their values come out.
///
/// Integers are decisions, such as which tokens are kept or merged: of two that are equal but for
/// rounding the plan may take the other one, and then all behind it differs and is right all the
/// same. So a layer that reads integers is given the network's, and `decisions` says how often the
/// plan's own were others.
PlanDifference compare(Plan& plan, Network& network, const Tensor& images, double tolerance);

/// max |a - b| / max |b|, in double; NaN anywhere gives NaN.
double max_relative_difference(const Tensor& a, const Tensor& b);

}  // namespace vtrain
