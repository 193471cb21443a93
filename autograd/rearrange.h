#pragma once

#include <vector>

#include "autograd/variable.h"

namespace vtrain {

/// Ops that move elements without arithmetic, of any dtype and shape; results keep the memory order
/// of a dense x. Throw ShapeError. (autograd/shape.h has views and concat, autograd/indexing.h
/// moves by index.)

struct AxisPadding {
  int64_t front = 0, back = 0;
};
/// x with `value` around it: one entry per axis, counts of at least 0.
Variable pad(const Variable& x, const std::vector<AxisPadding>& sides, double value = 0);

/// Parts of the given extents along `dim`, which add up to x's; views.
std::vector<Variable> split(const Variable& x, const std::vector<int64_t>& extents, int dim);
/// `count` parts of ceil(extent / count) along `dim`, the last of what is left: fewer where the
/// extent does not suffice, as in PyTorch.
std::vector<Variable> chunk(const Variable& x, int64_t count, int dim);

/// y[i] = x[(i - shift) mod extent] along each of `axes`.
Variable roll(const Variable& x, const std::vector<int>& axes, const std::vector<int64_t>& shifts);

/// y[i] = x[extent - 1 - i] along `axis`.
Variable flip(const Variable& x, int axis);

/// x (N, C, ...): y channel k is x channel (k mod groups) * C / groups + k / groups, which mixes
/// what `groups` groups made. Zhang, Zhou, Lin, Sun, "ShuffleNet", arXiv:1707.01083. Its inverse is
/// a shuffle of C / groups groups.
Variable channel_shuffle(const Variable& x, int64_t groups);

/// x (N, H, W, C) -> (N * H/w * W/w, w * w, C): its windows of w x w positions, windows and
/// positions in raster order. Liu et al., "Swin Transformer", arXiv:2103.14030. H and W are
/// multiples of w.
Variable window_partition(const Variable& x, int64_t window);
/// The inverse: (N * H/w * W/w, w * w, C) -> (N, H, W, C).
Variable window_reverse(const Variable& windows, int64_t window, int64_t height, int64_t width);

}  // namespace vtrain
