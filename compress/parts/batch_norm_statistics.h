#pragma once

#include <cstdint>

#include "compress/run.h"

namespace vtrain {

/// Measures the running statistics of all batch norms again, in finish: weights were removed or
/// rounded, or noise was taken away, since training passes measured them. The network is run in
/// evaluation on so many training images, hooks of other methods on. Norm after norm in the order
/// of computation, so that each sees what those before it give now: as many passes over the images
/// as there are norms. The variance is unbiased, as training's. Returns how many norms there are;
/// 0 images change nothing.
int64_t remeasure_batch_norms(Run& run, int64_t images);

}  // namespace vtrain
