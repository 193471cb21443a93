#pragma once

#include <cstdint>
#include <optional>

#include "data/dataset.h"
#include "data/resize.h"

namespace vtrain {

/// How images of a data set become inputs of one size.
struct InputFormat {
  ImageSize size;           // of every input
  bool is_resized = false;  // false: every image has that size, and one that has not is an error
  double crop_pct = 0.875;  // side of the input over the shorter side of the image it is cut from
  Interpolation interpolation = Interpolation::kBilinear;
};

/// The size of the inputs is `image_size`, square; without one it is the data set's own if all its
/// images share one, or for image files if the first is square, else 224. Images are resized when
/// `image_size` says so of files, or differs from what the data set has.
InputFormat input_format(const Dataset& data, std::optional<int64_t> image_size, double crop_pct,
                         Interpolation interpolation);

/// torchvision's Resize and CenterCrop with timm's crop_pct, for evaluation: the shorter side
/// becomes floor(side / crop_pct), of which the middle is kept.
Scaling evaluation_scaling(const ImageSize& image, const InputFormat& input);

}  // namespace vtrain
