#include <doctest/doctest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "data/dataset.h"
#include "tensor/error.h"

namespace vtrain {
namespace {

std::vector<uint8_t> image_of(const Dataset& data, int64_t i) {
  std::vector<uint8_t> pixels(static_cast<size_t>(data.image_size().numel()));
  data.image(i, pixels.data());
  return pixels;
}

/// The class whose grating correlates most with the image, whatever its phase.
int nearest_grating(const std::vector<uint8_t>& pixels, int classes) {
  int best = 0;
  double best_power = -1;
  for (int k = 0; k < classes; ++k) {
    const double t = std::numbers::pi * k / classes, radians = 2 * std::numbers::pi * 3 / 28;
    std::complex<double> sum;
    for (int y = 0; y < 28; ++y) {
      for (int x = 0; x < 28; ++x) {
        const double angle = radians * (x * std::cos(t) + y * std::sin(t));
        sum += (pixels[static_cast<size_t>(y * 28 + x)] - 128.0) * std::polar(1.0, angle);
      }
    }
    if (std::norm(sum) > best_power) {
      best = k;
      best_power = std::norm(sum);
    }
  }
  return best;
}

}  // namespace

TEST_CASE("synthetic: the class can be told from the image") {
  const auto data = open_dataset("synthetic", {});
  int right = 0;
  for (int64_t i = 0; i < 200; ++i)
    right += nearest_grating(image_of(*data, i), 10) == data->label(i);
  CHECK(right >= 195);  // noise may cost a few
}

TEST_CASE("synthetic: images are the same each time, and differ between samples and splits") {
  const auto a = open_dataset("synthetic", {}), b = open_dataset("synthetic", {});
  const auto test = open_dataset("synthetic", {.split = Split::kTest});
  CHECK(image_of(*a, 7) == image_of(*b, 7));
  CHECK(image_of(*a, 7) != image_of(*a, 17));
  CHECK(image_of(*a, 7) != image_of(*test, 7));
}

TEST_CASE("synthetic: sizes are what was asked for, and impossible ones are refused") {
  const auto data =
      open_dataset("synthetic", {.generated = {.samples = 5, .classes = 100, .image = {3, 8, 12}}});
  CHECK(data->size() == 5);
  CHECK(data->classes() == 100);
  CHECK(data->image_size() == ImageSize{3, 8, 12});
  CHECK(data->default_mean().size() == 3);
  CHECK(image_of(*data, 4).size() == 288);
  CHECK_THROWS_AS(open_dataset("synthetic", {.generated = {.classes = 1}}), DataError);
  CHECK_THROWS_WITH_AS(open_dataset("synthetic", {.root = "/data"}),
                       "data.root: synthetic reads no files, got /data", DataError);
}

}  // namespace vtrain
