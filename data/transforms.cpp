#include "data/transforms.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "data/image_ops.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

Placement draw_placement(const AugmentOptions& options, Draws crop, Draws flip) {
  const int64_t p = options.crop_padding;
  Placement at;
  if (p > 0) {
    at.dy = crop.integer(-p, p);
    at.dx = crop.integer(-p, p);
  }
  at.is_flipped = options.hflip && flip.uniform() < 0.5;
  return at;
}

void place_pixels(const Image& image, const Placement& at, Image& placed) {
  const auto [channels, height, width] = image.size;
  placed.resize(image.size);
  std::ranges::fill(placed.pixels, uint8_t{0});
  const int64_t left = std::max<int64_t>(0, at.dx), right = std::min(width, width + at.dx);
  for (int64_t y = 0; y < height && left < right; ++y) {
    if (y + at.dy < 0 || y + at.dy >= height) continue;
    std::copy(image.row(y + at.dy) + left * channels, image.row(y + at.dy) + right * channels,
              placed.row(y) + (left - at.dx) * channels);
  }
  if (at.is_flipped) mirror(placed);
}

Box draw_resized_crop(const std::array<double, 2>& scale, const std::array<double, 2>& ratio,
                      const ImageSize& size, Draws draws) {
  constexpr int kAttempts = 10;
  const auto height = static_cast<double>(size.height), width = static_cast<double>(size.width);
  const double low = std::log(ratio[0]), high = std::log(ratio[1]);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double area = draws.uniform(scale[0], scale[1]) * height * width;
    const double aspect = std::exp(draws.uniform(low, high));
    const int64_t w = std::lrint(std::sqrt(area * aspect)),
                  h = std::lrint(std::sqrt(area / aspect));
    if (w < 1 || h < 1 || w > size.width || h > size.height) continue;
    const int64_t top = draws.integer(0, size.height - h), left = draws.integer(0, size.width - w);
    return {top, left, top + h, left + w};
  }
  const double own = width / height;
  const int64_t w = own > ratio[1] ? std::lrint(height * ratio[1]) : size.width;
  const int64_t h = own < ratio[0] ? std::lrint(width / ratio[0]) : size.height;
  const int64_t top = (size.height - h) / 2, left = (size.width - w) / 2;
  return {top, left, top + h, left + w};
}

void jitter_colors(Image& image, double strength, double hue, Draws draws) {
  std::array<int, 4> order = {0, 1, 2, 3};
  for (size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<size_t>(draws.integer(0, static_cast<int64_t>(i)))]);
  }
  const double low = std::max(0.0, 1 - strength), high = 1 + strength;
  const std::array<double, 4> amount = {draws.uniform(low, high), draws.uniform(low, high),
                                        draws.uniform(low, high), draws.uniform(-hue, hue)};
  constexpr std::array kAdjust = {adjust_brightness, adjust_contrast, adjust_saturation,
                                  adjust_hue};
  for (const int which : order) {
    const auto i = static_cast<size_t>(which);
    if (i == 3 ? hue > 0 : strength > 0) kAdjust[i](image, amount[i]);
  }
}

Normalize::Normalize(int64_t channels, std::span<const double> mean, std::span<const double> std)
    : table_(static_cast<size_t>(channels)) {
  if (mean.size() != table_.size() || std.size() != table_.size()) {
    throw DataError(str("data.mean, data.std: expected ", channels,
                        " values, one per channel, got ", mean.size(), " and ", std.size()));
  }
  for (size_t c = 0; c < table_.size(); ++c) {
    if (!(std[c] > 0)) throw DataError(str("data.std: expected values above 0, got ", std[c]));
    for (int p = 0; p < 256; ++p) {
      table_[c][static_cast<size_t>(p)] = static_cast<float>((p / 255.0 - mean[c]) / std[c]);
    }
  }
}

void Normalize::apply(const uint8_t* pixels, const ImageSize& size, const Placement& at,
                      float* out) const {
  const auto [channels, height, width] = size;
  for (int64_t y = 0; y < height; ++y) {
    const int64_t from_y = y + at.dy;
    const bool is_row_inside = from_y >= 0 && from_y < height;
    for (int64_t x = 0; x < width; ++x) {
      const int64_t from_x = (at.is_flipped ? width - 1 - x : x) + at.dx;
      const bool is_inside = is_row_inside && from_x >= 0 && from_x < width;
      const uint8_t* const pixel =
          is_inside ? pixels + (from_y * width + from_x) * channels : nullptr;
      for (int64_t c = 0; c < channels; ++c) {
        *out++ = table_[static_cast<size_t>(c)][pixel ? pixel[c] : 0];
      }
    }
  }
}

Box draw_erasing(double probability, const ImageSize& size, Draws draws) {
  constexpr double kMinArea = 0.02, kMaxArea = 1.0 / 3, kMinAspect = 0.3;
  constexpr int kAttempts = 10;
  if (probability <= 0 || draws.uniform() >= probability) return {};
  const double log_aspect = std::log(1 / kMinAspect);
  const auto pixels = static_cast<double>(size.height * size.width);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const double area = draws.uniform(kMinArea, kMaxArea) * pixels;
    const double aspect = std::exp(draws.uniform(-log_aspect, log_aspect));
    const int64_t h = std::lrint(std::sqrt(area * aspect)),
                  w = std::lrint(std::sqrt(area / aspect));
    if (h >= size.height || w >= size.width) continue;
    const int64_t top = draws.integer(0, size.height - h), left = draws.integer(0, size.width - w);
    return {top, left, top + h, left + w};
  }
  return {};
}

void erase(float* hwc, const ImageSize& size, const Box& box) {
  for (int64_t y = box.top; y < box.bottom; ++y) {
    std::fill_n(hwc + (y * size.width + box.left) * size.channels,
                (box.right - box.left) * size.channels, 0.0F);
  }
}

namespace {

/// log of Gamma(alpha, 1): Marsaglia, Tsang, "A Simple Method for Generating Gamma Variables", ACM
/// TOMS 26(3), 2000. The logarithm, because for small alpha the number itself underflows.
double draw_log_gamma(double alpha, Draws& draws) {
  // Gamma(alpha) = Gamma(alpha + 1) U^(1 / alpha)
  const double boost = alpha < 1 ? std::log(draws.uniform()) / alpha : 0;
  const double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  // An attempt fails with probability below 0.05, all of them below 1e-83; the loop is bounded so
  // that it ends whatever the stream.
  for (int attempt = 0; attempt < 64; ++attempt) {
    const double x = draws.normal(), u = draws.uniform(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(u) < 0.5 * x * x + d * (1 - v + std::log(v))) return std::log(d * v) + boost;
  }
  return std::log(d) + boost;  // the mode
}

}  // namespace

double draw_beta(double alpha, Draws& draws) {
  const double a = draw_log_gamma(alpha, draws), b = draw_log_gamma(alpha, draws);
  return 1 / (1 + std::exp(b - a));  // e^a / (e^a + e^b); infinity gives 0
}

namespace {

/// A box of 1 - lambda of the area around a uniform centre, clipped to the image.
Box draw_cutmix_box(double lambda, const ImageSize& size, Draws& draws) {
  const double ratio = std::sqrt(1 - lambda);
  const auto h = static_cast<int64_t>(static_cast<double>(size.height) * ratio);
  const auto w = static_cast<int64_t>(static_cast<double>(size.width) * ratio);
  const int64_t y = draws.integer(0, size.height - 1), x = draws.integer(0, size.width - 1);
  return {std::clamp<int64_t>(y - h / 2, 0, size.height),
          std::clamp<int64_t>(x - w / 2, 0, size.width),
          std::clamp<int64_t>(y + h / 2, 0, size.height),
          std::clamp<int64_t>(x + w / 2, 0, size.width)};
}

}  // namespace

Mix draw_mix(const AugmentOptions& options, const ImageSize& size, Draws draws) {
  const bool has_mixup = options.mixup > 0, has_cutmix = options.cutmix > 0;
  if (!has_mixup && !has_cutmix) return {};
  Mix mix;
  const bool prefers_cutmix = draws.uniform() < 0.5;
  mix.is_cutmix = has_cutmix && (!has_mixup || prefers_cutmix);
  mix.lambda = draw_beta(mix.is_cutmix ? options.cutmix : options.mixup, draws);
  if (mix.is_cutmix) {
    mix.box = draw_cutmix_box(mix.lambda, size, draws);
    mix.lambda =
        1 - static_cast<double>(mix.box.area()) / static_cast<double>(size.height * size.width);
  }
  return mix;
}

void mix_images(float* nhwc, int64_t n, const ImageSize& size, const Mix& mix) {
  if (mix.lambda == 1) return;
  const auto own = static_cast<float>(mix.lambda), other = static_cast<float>(1 - mix.lambda);
  const int64_t numel = size.numel();
  for (int64_t i = 0; i < n / 2; ++i) {
    float* const a = nhwc + i * numel;
    float* const b = nhwc + (n - 1 - i) * numel;
    if (mix.is_cutmix) {
      for (int64_t y = mix.box.top; y < mix.box.bottom; ++y) {
        const int64_t begin = (y * size.width + mix.box.left) * size.channels;
        const int64_t end = (y * size.width + mix.box.right) * size.channels;
        std::swap_ranges(a + begin, a + end, b + begin);
      }
      continue;
    }
    for (int64_t j = 0; j < numel; ++j) {
      const float x = a[j], y = b[j];
      a[j] = own * x + other * y;
      b[j] = own * y + other * x;
    }
  }
}

void write_targets(std::span<const int32_t> labels, int64_t classes, double smoothing,
                   double lambda, float* targets) {
  const double off = smoothing / static_cast<double>(classes), peak = 1 - smoothing;
  const size_t n = labels.size();
  for (size_t i = 0; i < n; ++i) {
    float* const row = targets + static_cast<int64_t>(i) * classes;
    std::fill_n(row, classes, static_cast<float>(off));
    const int32_t own = labels[i], other = labels[n - 1 - i];
    if (own == other) {
      row[own] = static_cast<float>(off + peak);
    } else {
      row[own] = static_cast<float>(off + lambda * peak);
      row[other] = static_cast<float>(off + (1 - lambda) * peak);
    }
  }
}

}  // namespace vtrain
