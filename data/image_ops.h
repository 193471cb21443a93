#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "data/image.h"
#include "data/resize.h"

namespace vtrain {

// Operations on the bytes of an image of 1 or 3 channels, in place, in PIL's arithmetic
// (ImageEnhance, ImageOps, Image.transform), so that a policy tuned with timm or torchvision means
// the same here.

/// factor * image + (1 - factor) * other, truncated and clipped; `other` is black, the mean grey,
/// each pixel's own grey, and the image smoothed by a 3x3 filter of weights 1 and, in the
/// middle, 5.
void adjust_brightness(Image& image, double factor);
void adjust_contrast(Image& image, double factor);
void adjust_saturation(Image& image, double factor);
void adjust_sharpness(Image& image, double factor);
/// Turns the hue by `turns` of the colour circle, in [-0.5, 0.5]. Grey images stay as they are.
void adjust_hue(Image& image, double turns);

void invert(Image& image);
void solarize(Image& image, int threshold);     // inverts values from the threshold on
void solarize_add(Image& image, int addition);  // to values below 128
void posterize(Image& image, int bits);         // keeps so many high bits, 0..8
/// Stretches each channel to 0..255, and flattens each channel's histogram.
void autocontrast(Image& image);
void equalize(Image& image);
void mirror(Image& image);

/// The pixel at (x, y) becomes that at (m0 x' + m1 y' + m2, m3 x' + m4 y' + m5) of the old image,
/// where x' = x + 1/2, y' = y + 1/2; outside it is `fill`, one value a channel. Bicubic here is
/// PIL's for transforms, a = -1.
void transform_affine(Image& image, const std::array<double, 6>& matrix,
                      Interpolation interpolation, std::span<const uint8_t> fill);
/// Counterclockwise around the middle, at the old size.
void rotate(Image& image, double degrees, Interpolation interpolation,
            std::span<const uint8_t> fill);

}  // namespace vtrain
