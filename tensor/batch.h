#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace vtrain {

/// Samples of one step, as the loader makes them and as methods see them.
struct Batch {
  Tensor images;  // (N, C, H, W) f32, normalised, channels last
  Tensor labels;  // (N) i32, before any mixing
  Tensor
      targets;  // (N, K) f32, rows sum to 1: one-hot, or softened by label smoothing, mixup, cutmix
  int64_t first_sample = 0;  // global index, within the step, of images[0]
  void move_to(Device device) {
    images = images.to(device);
    labels = labels.to(device);
    targets = targets.to(device);
  }
  int64_t size() const { return images.defined() ? images.dim(0) : 0; }
};

}  // namespace vtrain
