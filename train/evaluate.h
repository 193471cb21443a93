#pragma once

#include <cstdint>
#include <functional>

#include "data/loader.h"
#include "nn/network.h"

namespace vtrain {

/// Accuracy over a set of images.
struct Accuracy {
  double top1_percent = 0, top5_percent = 0;
  double loss = 0;  // mean cross entropy with the true class
  int64_t samples = 0;
};

/// images (N, C, H, W) f32, and the position of the first of them among all  ->  logits (N, K).
using LogitsOf = std::function<Tensor(const Tensor& images, int64_t first_sample)>;

/// Runs one epoch of `loader` through any form of a network.
Accuracy evaluate(const LogitsOf& logits_of, Loader& loader);

/// Runs one epoch of `loader` in evaluation mode. `before` is called ahead of every forward pass.
Accuracy evaluate(Network& network, Loader& loader,
                  const std::function<void(const Pass&)>& before = {});

}  // namespace vtrain
