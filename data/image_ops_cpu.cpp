#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "data/image_ops.h"

namespace vtrain {
namespace {

using Table = std::array<uint8_t, 256>;

uint8_t blended(int other, int own, float factor) {
  const float value = static_cast<float>(other) + factor * static_cast<float>(own - other);
  return static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
}

/// own = blend of other(i) and own, i the index of the byte.
template <class Other>
void blend(Image& image, double factor, const Other& other) {
  const auto f = static_cast<float>(factor);
  for (size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = blended(other(i), image.pixels[i], f);
  }
}

std::vector<uint8_t> grey_of(const Image& image) {
  if (image.size.channels == 1) return image.pixels;
  std::vector<uint8_t> grey(image.pixels.size() / 3);
  for (size_t i = 0; i < grey.size(); ++i) {
    const uint8_t* const p = image.pixels.data() + i * 3;
    grey[i] = luma(p[0], p[1], p[2]);
  }
  return grey;
}

template <class F>
Table make_table(const F& f) {
  Table table;
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<uint8_t>(f(i));
  return table;
}

void look_up(Image& image, const Table& table) {
  for (uint8_t& p : image.pixels) p = table[p];
}

/// A table for each channel, made from its histogram.
template <class F>
void look_up_by_histogram(Image& image, const F& table_of) {
  const auto channels = static_cast<size_t>(image.size.channels);
  for (size_t c = 0; c < channels; ++c) {
    std::array<int64_t, 256> histogram{};
    for (size_t i = c; i < image.pixels.size(); i += channels) ++histogram[image.pixels[i]];
    const Table table = table_of(histogram);
    for (size_t i = c; i < image.pixels.size(); i += channels) {
      image.pixels[i] = table[image.pixels[i]];
    }
  }
}

Table unchanged() {
  return make_table([](int i) { return i; });
}

struct Hsv {
  int h = 0, s = 0, v = 0;
};

Hsv to_hsv(int r, int g, int b) {
  const int high = std::max({r, g, b}), low = std::min({r, g, b});
  if (high == low) return {0, 0, high};
  const auto range = static_cast<float>(high - low);
  const float saturation = range / static_cast<float>(high);
  const float rc = static_cast<float>(high - r) / range, gc = static_cast<float>(high - g) / range,
              bc = static_cast<float>(high - b) / range;
  float h = r == high ? bc - gc : g == high ? 2 + rc - bc : 4 + gc - rc;
  h = static_cast<float>(std::fmod(h / 6.0 + 1.0, 1.0));
  return {static_cast<int>(h * 255.0), static_cast<int>(saturation * 255.0), high};
}

void to_rgb(const Hsv& hsv, uint8_t* rgb) {
  const double sixths = hsv.h * 6.0 / 255.0, part = sixths - std::floor(sixths), s = hsv.s / 255.0;
  const auto byte = [&](double light) {
    return static_cast<uint8_t>(std::clamp(std::lround(hsv.v * light), 0L, 255L));
  };
  const auto v = static_cast<uint8_t>(hsv.v);
  const uint8_t p = byte(1 - s), q = byte(1 - s * part), t = byte(1 - s * (1 - part));
  const uint8_t sides[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  std::copy_n(sides[static_cast<int>(sixths) % 6], 3, rgb);
}

double cubic_between(double a, double b, double c, double d, double at) {
  return b + at * (c - a + at * (2 * (a - b) + c - d + at * (b - a + d - c)));
}

/// The value of channel c around (x, y), pixel (0, 0) having its middle at (0, 0); the image goes
/// on as at its edge.
double linear_at(const Image& image, double x, double y, int64_t c) {
  const double floor_x = std::floor(x), floor_y = std::floor(y);
  const auto value = [&](int64_t px, int64_t py) {
    px = std::clamp<int64_t>(px, 0, image.size.width - 1);
    py = std::clamp<int64_t>(py, 0, image.size.height - 1);
    return static_cast<double>(image.row(py)[px * image.size.channels + c]);
  };
  const auto row = [&](int64_t py) {
    const auto px = static_cast<int64_t>(floor_x);
    const double left = value(px, py);
    return left + (value(px + 1, py) - left) * (x - floor_x);
  };
  const auto py = static_cast<int64_t>(floor_y);
  const double upper = row(py);
  return upper + (row(py + 1) - upper) * (y - floor_y);
}

double cubic_at(const Image& image, double x, double y, int64_t c) {
  const double floor_x = std::floor(x), floor_y = std::floor(y);
  const auto row = [&](int64_t py) {
    py = std::clamp<int64_t>(py, 0, image.size.height - 1);
    double v[4];
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t px =
          std::clamp<int64_t>(static_cast<int64_t>(floor_x) - 1 + i, 0, image.size.width - 1);
      v[i] = image.row(py)[px * image.size.channels + c];
    }
    return cubic_between(v[0], v[1], v[2], v[3], x - floor_x);
  };
  const auto py = static_cast<int64_t>(floor_y);
  return cubic_between(row(py - 1), row(py), row(py + 1), row(py + 2), y - floor_y);
}

}  // namespace

void adjust_brightness(Image& image, double factor) {
  blend(image, factor, [](size_t) { return 0; });
}

void adjust_contrast(Image& image, double factor) {
  const std::vector<uint8_t> grey = grey_of(image);
  const int64_t sum = std::accumulate(grey.begin(), grey.end(), int64_t{0});
  const auto mean = static_cast<int>(
      std::floor(static_cast<double>(sum) / static_cast<double>(grey.size()) + 0.5));
  blend(image, factor, [mean](size_t) { return mean; });
}

void adjust_saturation(Image& image, double factor) {
  if (image.size.channels == 1) return;
  const std::vector<uint8_t> grey = grey_of(image);
  blend(image, factor, [&](size_t i) { return grey[i / 3]; });
}

void adjust_sharpness(Image& image, double factor) {
  const Image old = image;
  const auto [channels, height, width] = image.size;
  const auto f = static_cast<float>(factor);
  // The border has no neighbours: there the smoothed image is the image.
  for (int64_t y = 1; y + 1 < height; ++y) {
    for (int64_t i = channels; i < (width - 1) * channels; ++i) {
      int sum = 4 * old.row(y)[i];
      for (const int64_t dy : {-1, 0, 1}) {
        const uint8_t* const p = old.row(y + dy) + i;
        sum += p[-channels] + p[0] + p[channels];
      }
      image.row(y)[i] = blended((sum * 2 + 13) / 26, old.row(y)[i], f);  // sum / 13, rounded
    }
  }
}

void adjust_hue(Image& image, double turns) {
  if (image.size.channels == 1) return;
  const auto shift = static_cast<uint8_t>(static_cast<int>(turns * 255));
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    uint8_t* const p = image.pixels.data() + i;
    Hsv hsv = to_hsv(p[0], p[1], p[2]);
    hsv.h = (hsv.h + shift) & 255;
    to_rgb(hsv, p);
  }
}

void invert(Image& image) {
  look_up(image, make_table([](int i) { return 255 - i; }));
}

void solarize(Image& image, int threshold) {
  look_up(image, make_table([&](int i) { return i < threshold ? i : 255 - i; }));
}

void solarize_add(Image& image, int addition) {
  look_up(image, make_table([&](int i) { return i < 128 ? std::min(255, i + addition) : i; }));
}

void posterize(Image& image, int bits) {
  const int mask = ~((1 << (8 - bits)) - 1);
  look_up(image, make_table([&](int i) { return i & mask; }));
}

void autocontrast(Image& image) {
  look_up_by_histogram(image, [](const std::array<int64_t, 256>& histogram) {
    const auto used = [](int64_t n) { return n > 0; };
    const auto low = std::ranges::find_if(histogram, used) - histogram.begin();
    const auto high =
        histogram.rend() - std::find_if(histogram.rbegin(), histogram.rend(), used) - 1;
    if (high <= low) return unchanged();
    const double scale = 255.0 / static_cast<double>(high - low);
    const double offset = -static_cast<double>(low) * scale;
    return make_table(
        [&](int i) { return std::clamp(static_cast<int>(i * scale + offset), 0, 255); });
  });
}

void equalize(Image& image) {
  look_up_by_histogram(image, [](const std::array<int64_t, 256>& histogram) {
    const int64_t pixels = std::accumulate(histogram.begin(), histogram.end(), int64_t{0});
    const int64_t last =
        *std::find_if(histogram.rbegin(), histogram.rend(), [](int64_t n) { return n > 0; });
    const int64_t step = (pixels - last) / 255;
    if (step == 0) return unchanged();
    int64_t below = step / 2;
    return make_table([&](int i) {
      const int64_t value = std::min<int64_t>(below / step, 255);
      below += histogram[static_cast<size_t>(i)];
      return value;
    });
  });
}

void mirror(Image& image) {
  const int64_t channels = image.size.channels, width = image.size.width;
  for (int64_t y = 0; y < image.size.height; ++y) {
    uint8_t* const row = image.row(y);
    for (int64_t x = 0; x < width / 2; ++x) {
      std::swap_ranges(row + x * channels, row + (x + 1) * channels,
                       row + (width - 1 - x) * channels);
    }
  }
}

void transform_affine(Image& image, const std::array<double, 6>& m, Interpolation interpolation,
                      std::span<const uint8_t> fill) {
  const Image old = image;
  const auto [channels, height, width] = image.size;
  uint8_t* out = image.pixels.data();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x, out += channels) {
      const double at_x = static_cast<double>(x) + 0.5, at_y = static_cast<double>(y) + 0.5;
      const double from_x = m[0] * at_x + m[1] * at_y + m[2];
      const double from_y = m[3] * at_x + m[4] * at_y + m[5];
      if (from_x < 0 || from_y < 0 || from_x >= static_cast<double>(width) ||
          from_y >= static_cast<double>(height)) {
        std::copy_n(fill.begin(), channels, out);
        continue;
      }
      for (int64_t c = 0; c < channels; ++c) {
        const double value = interpolation == Interpolation::kBilinear
                                 ? linear_at(old, from_x - 0.5, from_y - 0.5, c)
                                 : cubic_at(old, from_x - 0.5, from_y - 0.5, c);
        out[c] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
      }
    }
  }
}

void rotate(Image& image, double degrees, Interpolation interpolation,
            std::span<const uint8_t> fill) {
  const double angle = -degrees * std::numbers::pi / 180;
  const double cosine = std::cos(angle), sine = std::sin(angle);
  const double x = static_cast<double>(image.size.width) / 2,
               y = static_cast<double>(image.size.height) / 2;
  transform_affine(
      image, {cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y},
      interpolation, fill);
}

}  // namespace vtrain
