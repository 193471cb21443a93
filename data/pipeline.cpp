#include "data/pipeline.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "data/decode.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

Normalize normalize_for(const Dataset& dataset, const PipelineOptions& options) {
  return {dataset.image_size().channels,
          options.mean.empty() ? dataset.default_mean() : options.mean,
          options.std.empty() ? dataset.default_std() : options.std};
}

}  // namespace

Pipeline::Pipeline(std::shared_ptr<const Dataset> dataset, const PipelineOptions& options)
    : dataset_(std::move(dataset)),
      input_(options.input),
      augment_(options.augment),
      normalize_(normalize_for(*dataset_, options)),
      crop_stream_(options.seed, options.phase, "data.crop"),
      flip_stream_(options.seed, options.phase, "data.hflip"),
      resized_crop_stream_(options.seed, options.phase, "data.resized_crop"),
      randaugment_stream_(options.seed, options.phase, "data.randaugment"),
      jitter_stream_(options.seed, options.phase, "data.color_jitter"),
      erase_stream_(options.seed, options.phase, "data.erase") {
  for (const double mean : options.mean.empty() ? dataset_->default_mean() : options.mean) {
    fill_.push_back(static_cast<uint8_t>(std::clamp(std::lrint(255 * mean), 0L, 255L)));
  }
  const ImageSize own = dataset_->image_size();
  if (input_.is_resized || augment_.scale || own == input_.size) return;
  throw DataError(str(dataset_->name(), ": images are ", own.width, " x ", own.height, " with ",
                      own.channels, " channels, expected ", input_.size.width, " x ",
                      input_.size.height, " with ", input_.size.channels,
                      "; set data.image_size to bring all to one size"));
}

void Pipeline::make(int64_t sample, int64_t epoch, int64_t place, float* hwc,
                    Buffers& buffers) const {
  const Image& image = load(sample, epoch, place, buffers);
  const Placement at = draw_placement(augment_, Draws(crop_stream_, epoch, place),
                                      Draws(flip_stream_, epoch, place));
  const bool has_jitter = augment_.color_jitter > 0 || augment_.hue > 0;
  if (!augment_.randaugment && !has_jitter) {
    normalize_.apply(image.pixels.data(), input_.size, at, hwc);
  } else {
    Image& placed = buffers.placed;
    place_pixels(image, at, placed);
    if (augment_.randaugment) {
      randaugment(placed, *augment_.randaugment, input_.interpolation, fill_,
                  Draws(randaugment_stream_, epoch, place));
    }
    if (has_jitter) {
      jitter_colors(placed, augment_.color_jitter, augment_.hue,
                    Draws(jitter_stream_, epoch, place));
    }
    normalize_.apply(placed.pixels.data(), input_.size, {}, hwc);
  }
  erase(hwc, input_.size,
        draw_erasing(augment_.reprob, input_.size, Draws(erase_stream_, epoch, place)));
}

/// The sample's pixels, of the input's size.
const Image& Pipeline::load(int64_t sample, int64_t epoch, int64_t place, Buffers& b) const {
  const bool is_scaled = input_.is_resized || augment_.scale;
  if (!is_scaled || !dataset_->is_encoded()) {
    b.decoded.resize(dataset_->image_size());
    dataset_->image(sample, b.decoded.pixels.data());
    if (!is_scaled) return b.decoded;
    const Scaling scaling = draw_scaling(b.decoded.size, epoch, place);
    scale(b.decoded, whole(b.decoded.size), scaling, input_.interpolation, b.scaled, b.rows);
    return b.scaled;
  }
  dataset_->encoded(sample, b.file);
  const std::unique_ptr<ImageDecoder> decoder =
      open_image(b.file.bytes, {.path = b.file.path, .channels = input_.size.channels});
  const Scaling scaling = draw_scaling(decoder->size(), epoch, place);
  const Box decoded = decoder->decode(pixels_needed(scaling, input_.interpolation), b.decoded);
  scale(b.decoded, decoded, scaling, input_.interpolation, b.scaled, b.rows);
  return b.scaled;
}

Scaling Pipeline::draw_scaling(const ImageSize& image, int64_t epoch, int64_t place) const {
  if (!augment_.scale) return evaluation_scaling(image, input_);
  return {.source = draw_resized_crop(*augment_.scale, augment_.ratio, image,
                                      Draws(resized_crop_stream_, epoch, place)),
          .height = input_.size.height,
          .width = input_.size.width,
          .window = whole(input_.size)};
}

}  // namespace vtrain
