#include "data/resize.h"

#include <algorithm>
#include <cmath>

namespace vtrain {
namespace resize_detail {
namespace {

double triangle(double x) {
  x = std::abs(x);
  return x < 1 ? 1 - x : 0;
}

/// Keys, "Cubic Convolution Interpolation for Digital Image Processing", IEEE TASSP 29(6), 1981.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

}  // namespace

Weights make_weights(int64_t from, int64_t to, int64_t begin, int64_t end,
                     Interpolation interpolation) {
  const bool is_cubic = interpolation == Interpolation::kBicubic;
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);  // of the filter; an enlarged image needs none
  const double support = (is_cubic ? 2.0 : 1.0) * stretch;
  Weights w;
  w.most = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  w.weights.assign(static_cast<size_t>((end - begin) * w.most), 0);
  std::vector<double> exact(static_cast<size_t>(w.most));
  for (int64_t i = begin; i < end; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, std::llrint(std::floor(center - support + 0.5)));
    const auto last = std::min<int64_t>(from, std::llrint(std::floor(center + support + 0.5)));
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      const double at = (static_cast<double>(x) - center + 0.5) * (1 / stretch);
      const double weight = is_cubic ? cubic(at) : triangle(at);
      exact[static_cast<size_t>(x - first)] = weight;
      sum += weight;
    }
    int32_t* const row = w.weights.data() + (i - begin) * w.most;
    for (int64_t t = 0; t < last - first; ++t) {
      double weight = exact[static_cast<size_t>(t)];
      if (sum != 0) weight *= 1 / sum;
      const double fixed = weight * (1 << kFractionBits);
      row[t] = static_cast<int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5));
    }
    w.first.push_back(static_cast<int32_t>(first));
    w.length.push_back(static_cast<int32_t>(last - first));
  }
  return w;
}

}  // namespace resize_detail

namespace {

using resize_detail::Weights;

/// First and last source pixel of an axis that `w` reads.
std::pair<int64_t, int64_t> reach(const Weights& w) {
  return {w.first.front(), w.first.back() + w.length.back()};
}

}  // namespace

std::string_view name_of(Interpolation interpolation) {
  return interpolation == Interpolation::kBilinear ? "bilinear" : "bicubic";
}

Box pixels_needed(const Scaling& s, Interpolation interpolation) {
  const auto [top, bottom] = reach(resize_detail::make_weights(
      s.source.height(), s.height, s.window.top, s.window.bottom, interpolation));
  const auto [left, right] = reach(resize_detail::make_weights(
      s.source.width(), s.width, s.window.left, s.window.right, interpolation));
  return {s.source.top + top, s.source.left + left, s.source.top + bottom, s.source.left + right};
}

void scale(const Image& part, const Box& at, const Scaling& s, Interpolation interpolation,
           Image& result, Image& rows) {
  const int64_t channels = part.size.channels;
  const Weights across = resize_detail::make_weights(s.source.width(), s.width, s.window.left,
                                                     s.window.right, interpolation);
  const Weights down = resize_detail::make_weights(s.source.height(), s.height, s.window.top,
                                                   s.window.bottom, interpolation);
  const auto [top, bottom] = reach(down);
  const int64_t width = s.window.width(), height = s.window.height();
  rows.resize({channels, bottom - top, width});
  // An axis that keeps its length has the weights 1, which change nothing; PIL leaves it out.
  for (int64_t y = top; y < bottom; ++y) {
    const uint8_t* const source =
        part.row(y + s.source.top - at.top) + (s.source.left - at.left) * channels;
    if (s.width == s.source.width()) {
      std::copy_n(source + s.window.left * channels, width * channels, rows.row(y - top));
    } else {
      resize_detail::scale_row(source, across, width, channels, rows.row(y - top));
    }
  }
  if (s.height == s.source.height()) {
    std::swap(result, rows);
    return;
  }
  result.resize({channels, height, width});
  for (int64_t y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    resize_detail::blend_rows(rows.row(down.first[i] - top), width * channels,
                              down.weights.data() + y * down.most, down.length[i], width * channels,
                              result.row(y));
  }
}

}  // namespace vtrain
