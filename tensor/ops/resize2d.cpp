#include "tensor/ops/resize2d.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace vtrain {
namespace {

/// Adds one output: its weights of inputs first, first + 1, ... Those beyond an end count for the
/// end, weights of one input are added.
template <size_t kCount>
void add_output(AxisMap& map, int64_t first, const std::array<double, kCount>& weights) {
  const auto begin = static_cast<size_t>(map.start.back());
  for (size_t k = 0; k < kCount; ++k) {
    const int64_t source = std::clamp<int64_t>(first + static_cast<int64_t>(k), 0, map.in - 1);
    if (map.source.size() > begin && map.source.back() == source) {
      map.weight.back() += weights[k];
    } else {
      map.source.push_back(static_cast<int32_t>(source));
      map.weight.push_back(weights[k]);
    }
  }
  map.start.push_back(static_cast<int32_t>(map.source.size()));
}

double position(int64_t i, int64_t in, int64_t out, bool align_corners) {
  if (align_corners) {
    return out > 1 ? static_cast<double>(i * (in - 1)) / static_cast<double>(out - 1) : 0;
  }
  return (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
}

/// Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, at distances 1 + t,
/// t, 1 - t, 2 - t.
std::array<double, 4> cubic_weights(double t) {
  constexpr double a = -0.75;
  const auto near = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(1 + t), near(t), near(1 - t), far(2 - t)};
}

AxisMap axis_map(int64_t in, int64_t out, const ResizeOptions& options) {
  AxisMap map{.in = in, .out = out, .start = {0}};
  for (int64_t i = 0; i < out; ++i) {
    const double at = position(i, in, out, options.align_corners);
    switch (options.mode) {
      case ResizeMode::kNearest:
        add_output<1>(map, i * in / out, {1});
        break;
      case ResizeMode::kBilinear: {
        const double inside = std::max(at, 0.0), first = std::floor(inside), t = inside - first;
        add_output<2>(map, static_cast<int64_t>(first), {1 - t, t});
        break;
      }
      case ResizeMode::kBicubic: {
        const double first = std::floor(at);
        add_output<4>(map, static_cast<int64_t>(first) - 1, cubic_weights(at - first));
        break;
      }
    }
  }
  return map;
}

}  // namespace

AxisMap AxisMap::transposed() const {
  AxisMap map{.in = out, .out = in};
  std::vector<std::vector<std::pair<int32_t, double>>> readers(static_cast<size_t>(in));
  for (int64_t i = 0; i < out; ++i) {
    for (int32_t t = start[static_cast<size_t>(i)]; t < start[static_cast<size_t>(i) + 1]; ++t) {
      readers[static_cast<size_t>(source[static_cast<size_t>(t)])].emplace_back(
          static_cast<int32_t>(i), weight[static_cast<size_t>(t)]);
    }
  }
  map.start.push_back(0);
  for (const auto& of_input : readers) {
    for (const auto& [reader, share] : of_input) {
      map.source.push_back(reader);
      map.weight.push_back(share);
    }
    map.start.push_back(static_cast<int32_t>(map.source.size()));
  }
  return map;
}

ResizeMaps resize_maps(const Shape& x, Extent2d size, const ResizeOptions& options) {
  if (x.size() != 4 || x[2] < 1 || x[3] < 1)
    throw ShapeError(str("[resize2d] x ", x, ": expected (N, C, H, W), H and W at least 1"));
  if (size.h < 1 || size.w < 1)
    throw ShapeError(str("[resize2d] size: expected at least 1, got (", size.h, ", ", size.w, ')'));
  if (options.align_corners && options.mode == ResizeMode::kNearest)
    throw ShapeError("[resize2d] align_corners: expected false with nearest");
  return {axis_map(x[2], size.h, options), axis_map(x[3], size.w, options)};
}

Tensor resize2d(const Tensor& x, const ResizeMaps& maps) {
  check_real("resize2d", "x", x);
  if (x.ndim() != 4 || x.dim(2) != maps.rows.in || x.dim(3) != maps.columns.in) {
    throw ShapeError(str("[resize2d] x ", x.shape(), ": expected (N, C, ", maps.rows.in, ", ",
                         maps.columns.in, "), the maps' inputs"));
  }
  if (x.dim(0) == 0) throw ShapeError(str("[resize2d] x ", x.shape(), ": the batch is empty"));
  Tensor y = Tensor::empty_channels_last({x.dim(0), x.dim(1), maps.rows.out, maps.columns.out},
                                         x.dtype(), x.device());
  resize2d_kernels.on(x.device()).apply(x.channels_last(), maps, y);
  return y;
}

}  // namespace vtrain
