#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/draws.h"
#include "data/image.h"
#include "data/resize.h"

namespace vtrain {

/// RandAugment: Cubuk, Zoph, Shlens, Le, NeurIPS 2020, arXiv:1909.13719, as timm runs it by
/// "rand-m9-mstd0.5-inc1": `num_ops` operations, drawn with replacement from the fifteen of
/// randaugment_ops(); each is applied with probability `prob`, at a magnitude drawn from
/// Normal(magnitude, mstd) and clipped to [0, 10]; and a larger magnitude always distorts more.
struct RandAugmentOptions {
  int64_t num_ops = 2;
  double magnitude = 9;  // in [0, 10]
  double mstd = 0.5;     // standard deviation of the magnitude
  double prob = 0.5;
};

struct RandAugmentOp {
  std::string_view name;  // timm's
  /// `sign`: 1 or -1, which way an operation goes that can go two ways.
  void (*apply)(Image& image, double magnitude, double sign, Interpolation interpolation,
                std::span<const uint8_t> fill) = nullptr;
};
std::span<const RandAugmentOp> randaugment_ops();

/// `fill`: what comes in from outside of the image, one value a channel; timm takes the mean.
void randaugment(Image& image, const RandAugmentOptions& options, Interpolation interpolation,
                 std::span<const uint8_t> fill, Draws draws);

}  // namespace vtrain
