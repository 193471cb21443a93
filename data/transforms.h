#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/draws.h"
#include "data/image.h"
#include "data/randaugment.h"
#include "tensor/random.h"

namespace vtrain {

/// What happens to training images; the defaults do nothing.
struct AugmentOptions {
  std::optional<std::array<double, 2>> scale = {};  // of a random resized crop: share of the area
  std::array<double, 2> ratio = {0.75, 1.3333};     // of its width to its height
  int64_t crop_padding = 0;  // zeros added on each side before a random crop of the old size
  bool hflip = false;        // mirrored with probability 1/2
  std::optional<RandAugmentOptions> randaugment = {};
  double color_jitter = 0;  // brightness, contrast, saturation by a factor in 1 -+ this
  double hue = 0;           // hue turned by up to this share of the circle, at most 1/2
  double mixup = 0;         // alpha of Beta(alpha, alpha), 0: off
  double cutmix = 0;        // the same for cutmix
  double reprob = 0;        // probability of erasing a rectangle
  double smoothing = 0;     // label smoothing, in [0, 1)
};

/// Where a crop of the image's own size lies in the zero-padded image, and whether it is mirrored
/// afterwards.
struct Placement {
  int64_t dy = 0, dx = 0;  // of its upper left corner, in [-padding, padding]; 0: the image itself
  bool is_flipped = false;
};

/// torchvision's RandomCrop(size, padding) followed by RandomHorizontalFlip. Two streams, so that
/// one does not move the other.
Placement draw_placement(const AugmentOptions& options, Draws crop, Draws flip);

/// The image at that place, in bytes; what lies outside of it is 0.
void place_pixels(const Image& image, const Placement& at, Image& placed);

/// torchvision's RandomResizedCrop: a rectangle of a share of the area that is uniform in `scale`,
/// of an aspect ratio (width / height) whose logarithm is uniform in that of `ratio`; if ten draws
/// lie outside the image, the largest rectangle in its middle whose ratio is allowed.
Box draw_resized_crop(const std::array<double, 2>& scale, const std::array<double, 2>& ratio,
                      const ImageSize& size, Draws draws);

/// torchvision's ColorJitter(strength, strength, strength, hue): the four adjustments in random
/// order.
void jitter_colors(Image& image, double strength, double hue, Draws draws);

/// Pixels to normalised floats: (p / 255 - mean) / std per channel, through a table of the 256
/// values.
class Normalize {
 public:
  /// Throws DataError unless there is a mean and a positive std per channel.
  Normalize(int64_t channels, std::span<const double> mean, std::span<const double> std);

  /// (H, W, C) bytes -> (H, W, C) floats, cropped and mirrored on the way. Padding is pixel 0, so
  /// it becomes -mean / std.
  void apply(const uint8_t* pixels, const ImageSize& size, const Placement& at, float* out) const;

 private:
  std::vector<std::array<float, 256>> table_;  // by channel
};

/// Random erasing: Zhong, Zheng, Kang, Li, Yang, AAAI 2020, arXiv:1708.04896, with timm's ranges:
/// area 0.02..1/3 of the image, aspect ratio 0.3..1/0.3 (log-uniform), ten attempts at a rectangle
/// that is smaller than the image. An empty box: nothing is erased.
Box draw_erasing(double probability, const ImageSize& size, Draws draws);
/// Sets the box to 0, the mean after normalisation.
void erase(float* hwc, const ImageSize& size, const Box& box);

/// Beta(alpha, alpha), in [0, 1].
double draw_beta(double alpha, Draws& draws);

/// How the samples of one batch are mixed, each with the one at the mirrored place, as timm does it
/// in batch mode. mixup: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018, arXiv:1710.09412; cutmix: Yun
/// et al., ICCV 2019, arXiv:1905.04899.
struct Mix {
  double lambda = 1;  // weight of a sample's own label; for cutmix the share of its image left
  bool is_cutmix = false;
  Box box = {};  // cutmix: what comes from the other image
};
/// Both alphas > 0: one of the two, with probability 1/2.
Mix draw_mix(const AugmentOptions& options, const ImageSize& size, Draws draws);

/// x_i = lambda x_i + (1 - lambda) x_(n-1-i), or the box copied; the middle sample of an odd batch
/// stays as it is.
void mix_images(float* nhwc, int64_t n, const ImageSize& size, const Mix& mix);

/// (N, K) rows: lambda onehot(y_i) + (1 - lambda) onehot(y_(n-1-i)), where onehot has smoothing / K
/// off the label and 1 - smoothing + smoothing / K on it.
void write_targets(std::span<const int32_t> labels, int64_t classes, double smoothing,
                   double lambda, float* targets);

}  // namespace vtrain
