#include "data/randaugment.h"

#include <algorithm>

#include "data/image_ops.h"

namespace vtrain {
namespace {

constexpr double kLevels = 10;  // magnitudes go from 0 to this

/// A factor of brightness, contrast, colour, sharpness: 1 at magnitude 0, 0.1 or 1.9 at 10.
double enhancement(double magnitude, double sign) {
  return std::max(0.1, 1 + sign * magnitude / kLevels * 0.9);
}
double shear_of(double magnitude, double sign) { return sign * magnitude / kLevels * 0.3; }
double shift_of(double magnitude, double sign) { return sign * magnitude / kLevels * 0.45; }

using Fill = std::span<const uint8_t>;
using Way = Interpolation;

constexpr RandAugmentOp kOps[] = {
    {"AutoContrast", [](Image& i, double, double, Way, Fill) { autocontrast(i); }},
    {"Equalize", [](Image& i, double, double, Way, Fill) { equalize(i); }},
    {"Invert", [](Image& i, double, double, Way, Fill) { invert(i); }},
    {"Rotate", [](Image& i, double m, double sign, Way way,
                  Fill fill) { rotate(i, sign * m / kLevels * 30, way, fill); }},
    {"PosterizeIncreasing", [](Image& i, double m, double, Way,
                               Fill) { posterize(i, 4 - static_cast<int>(m / kLevels * 4)); }},
    {"SolarizeIncreasing",
     [](Image& i, double m, double, Way, Fill) {
       solarize(i, 256 - std::min(256, static_cast<int>(m / kLevels * 256)));
     }},
    {"SolarizeAdd",
     [](Image& i, double m, double, Way, Fill) {
       solarize_add(i, std::min(128, static_cast<int>(m / kLevels * 110)));
     }},
    {"ColorIncreasing", [](Image& i, double m, double sign, Way,
                           Fill) { adjust_saturation(i, enhancement(m, sign)); }},
    {"ContrastIncreasing",
     [](Image& i, double m, double sign, Way, Fill) { adjust_contrast(i, enhancement(m, sign)); }},
    {"BrightnessIncreasing", [](Image& i, double m, double sign, Way,
                                Fill) { adjust_brightness(i, enhancement(m, sign)); }},
    {"SharpnessIncreasing",
     [](Image& i, double m, double sign, Way, Fill) { adjust_sharpness(i, enhancement(m, sign)); }},
    {"ShearX",
     [](Image& i, double m, double sign, Way way, Fill fill) {
       transform_affine(i, {1, shear_of(m, sign), 0, 0, 1, 0}, way, fill);
     }},
    {"ShearY",
     [](Image& i, double m, double sign, Way way, Fill fill) {
       transform_affine(i, {1, 0, 0, shear_of(m, sign), 1, 0}, way, fill);
     }},
    {"TranslateXRel",
     [](Image& i, double m, double sign, Way way, Fill fill) {
       const double shift = shift_of(m, sign) * static_cast<double>(i.size.width);
       transform_affine(i, {1, 0, shift, 0, 1, 0}, way, fill);
     }},
    {"TranslateYRel",
     [](Image& i, double m, double sign, Way way, Fill fill) {
       const double shift = shift_of(m, sign) * static_cast<double>(i.size.height);
       transform_affine(i, {1, 0, 0, 0, 1, shift}, way, fill);
     }},
};

}  // namespace

std::span<const RandAugmentOp> randaugment_ops() { return kOps; }

void randaugment(Image& image, const RandAugmentOptions& options, Interpolation interpolation,
                 std::span<const uint8_t> fill, Draws draws) {
  for (int64_t n = 0; n < options.num_ops; ++n) {
    // Always the same number of draws, so that one operation does not move the next.
    const int64_t which = draws.integer(0, static_cast<int64_t>(std::size(kOps)) - 1);
    const bool is_applied = draws.uniform() < options.prob;
    const double magnitude =
        std::clamp(options.magnitude + options.mstd * draws.normal(), 0.0, kLevels);
    const double sign = draws.uniform() < 0.5 ? 1 : -1;
    if (is_applied) kOps[which].apply(image, magnitude, sign, interpolation, fill);
  }
}

}  // namespace vtrain
