#pragma once

#include "autograd/variable.h"
#include "tensor/ops/resize2d.h"

namespace vtrain {

/// x (N, C, H, W) -> (N, C, size.h, size.w): tensor/ops/resize2d.h.
Variable resize2d(const Variable& x, Extent2d size, const ResizeOptions& options = {});

/// A table of position embeddings on a grid of another size: x (1, T + h w, C) -> (1, T + h' w',
/// C). The first num_special rows stay; the rest, an image of h x w positions in raster order, is
/// resized.
Variable resize_positions(const Variable& x, int64_t num_special, Extent2d from, Extent2d to,
                          const ResizeOptions& options);

}  // namespace vtrain
