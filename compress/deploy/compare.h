#pragma once

#include "compress/deploy/plan.h"

namespace vtrain {

/// How far a plan is from the network it was made of.
struct PlanDifference {
  double logits = 0;             // max |difference| / max |logit|
  double worst_layer = 0;        // the same of the layer where it is largest
  std::string first_layer = {};  // the first where it is above the tolerance, or empty
};

/// Runs both on images (N, C, H, W) f32, layer by layer, in f32 on the network's side. Layers that
/// the plan has fused are compared where their values come out.
PlanDifference compare(Plan& plan, Network& network, const Tensor& images, double tolerance);

/// max |a - b| / max |b|, in double; NaN anywhere gives NaN.
double max_relative_difference(const Tensor& a, const Tensor& b);

}  // namespace vtrain
