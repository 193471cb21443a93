#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/input_format.h"
#include "data/transforms.h"
#include "tensor/random.h"

namespace vtrain {

struct PipelineOptions {
  InputFormat input;
  AugmentOptions augment = {};
  std::vector<double> mean = {}, std = {};  // per channel; empty: the data set's own
  uint64_t seed = 0;
  std::string phase = {};
};

/// The way of one sample from its data set to normalised floats:
///   decode, crop and resize, mirror, RandAugment, jitter colours, normalise, erase
/// in the order of timm. Without the two in the middle, mirroring is a part of normalising.
/// Draws depend on (seed, phase, what is drawn, epoch, place in the epoch) only. May be used by
/// several threads at once, each with buffers of its own.
class Pipeline {
 public:
  /// Memory that one thread uses for one sample after another.
  struct Buffers {
    EncodedImage file;
    Image decoded, scaled, rows, placed;
  };

  /// Throws DataError if mean or std do not fit.
  Pipeline(std::shared_ptr<const Dataset> dataset, const PipelineOptions& options);

  const ImageSize& input_size() const { return input_.size; }
  /// Writes sample `sample` of the data set as it looks at `place` of `epoch`: (H, W, C) floats.
  /// Throws DamagedImage for a file that is none.
  void make(int64_t sample, int64_t epoch, int64_t place, float* hwc, Buffers& buffers) const;

 private:
  const Image& load(int64_t sample, int64_t epoch, int64_t place, Buffers& buffers) const;
  Scaling draw_scaling(const ImageSize& image, int64_t epoch, int64_t place) const;

  std::shared_ptr<const Dataset> dataset_;
  InputFormat input_;
  AugmentOptions augment_;
  Normalize normalize_;
  std::vector<uint8_t> fill_;  // the mean, for what comes in from outside of an image
  Random crop_stream_, flip_stream_, resized_crop_stream_, randaugment_stream_, jitter_stream_,
      erase_stream_;
};

}  // namespace vtrain
