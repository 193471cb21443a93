#include "data/transforms.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "tensor/error.h"

namespace vtrain {
namespace {

const Random kStream(/*seed=*/5, "dense", "test");

std::vector<float> placed(const std::vector<uint8_t>& pixels, const ImageSize& size,
                          const Placement& at, double mean = 0, double std = 1.0 / 255) {
  const std::vector<double> means(static_cast<size_t>(size.channels), mean),
      stds(means.size(), std);
  std::vector<float> out(pixels.size());
  Normalize(size.channels, means, stds).apply(pixels.data(), size, at, out.data());
  return out;
}

struct Moments {
  double mean = 0, variance = 0;
};
Moments moments(const std::vector<double>& x) {
  Moments m;
  for (const double v : x) m.mean += v / static_cast<double>(x.size());
  for (const double v : x)
    m.variance += (v - m.mean) * (v - m.mean) / static_cast<double>(x.size());
  return m;
}

}  // namespace

TEST_CASE("crop and flip: a 2x3 image moves as worked by hand") {
  const std::vector<uint8_t> pixels = {1, 2, 3,  //
                                       4, 5, 6};
  const ImageSize size{1, 2, 3};
  using V = std::vector<float>;
  CHECK(placed(pixels, size, {}) == V{1, 2, 3, 4, 5, 6});
  CHECK(placed(pixels, size, {.is_flipped = true}) == V{3, 2, 1, 6, 5, 4});
  CHECK(placed(pixels, size, {.dy = 1}) == V{4, 5, 6, 0, 0, 0});
  CHECK(placed(pixels, size, {.dy = -1, .dx = 1}) == V{0, 0, 0, 2, 3, 0});
  CHECK(placed(pixels, size, {.dx = -2}) == V{0, 0, 1, 0, 0, 4});
  CHECK(placed(pixels, size, {.dx = -2, .is_flipped = true}) == V{1, 0, 0, 4, 0, 0});
  CHECK(placed(pixels, size, {.dy = 5, .dx = 5}) == V(6, 0));
}

TEST_CASE("crop and flip: the channels of a pixel stay together") {
  CHECK(placed({1, 2, 3, 4}, {2, 1, 2}, {.is_flipped = true}) == std::vector<float>{3, 4, 1, 2});
}

TEST_CASE("normalise: it is (p / 255 - mean) / std per channel, and padding is pixel 0") {
  const std::vector<uint8_t> pixels = {255, 51};
  std::array<float, 2> out{};
  Normalize(2, std::array{0.5, 0.1}, std::array{0.25, 0.5})
      .apply(pixels.data(), {2, 1, 1}, {}, out.data());
  CHECK(out[0] == 2.0F);
  CHECK(out[1] == doctest::Approx(0.2));
  CHECK(placed({255}, {1, 1, 1}, {.dx = 1}, 0.5, 0.25)[0] == -2.0F);
  CHECK_THROWS_WITH_AS(Normalize(3, std::array{0.5}, std::array{0.5}),
                       doctest::Contains("expected 3 values"), DataError);
  CHECK_THROWS_AS(Normalize(1, std::array{0.5}, std::array{0.0}), DataError);
}

TEST_CASE(
    "placement: every offset in [-padding, padding] is equally likely, and half of the images "
    "flip") {
  std::array<int, 5> dy{}, dx{};
  int flips = 0;
  for (int64_t i = 0; i < 10000; ++i) {
    const Placement at = draw_placement({.crop_padding = 2, .hflip = true}, Draws(kStream, 0, i),
                                        Draws(kStream, 1, i));
    ++dy.at(static_cast<size_t>(at.dy + 2));
    ++dx.at(static_cast<size_t>(at.dx + 2));
    flips += at.is_flipped;
  }
  // Five standard deviations: sqrt(10000 * 0.2 * 0.8) = 40, sqrt(10000) / 2 = 50.
  for (const int n : dy) CHECK(std::abs(n - 2000) < 200);
  for (const int n : dx) CHECK(std::abs(n - 2000) < 200);
  CHECK(std::abs(flips - 5000) < 250);
  const Placement none = draw_placement({}, Draws(kStream, 0, 0), Draws(kStream, 0, 0));
  CHECK(none.dy == 0);
  CHECK(none.dx == 0);
  CHECK(!none.is_flipped);
}

TEST_CASE(
    "erasing: boxes lie inside, have the stated areas and aspects, and come with the stated "
    "probability") {
  const ImageSize size{1, 32, 32};
  int erased = 0;
  double smallest = 1, largest = 0;
  for (int64_t i = 0; i < 4000; ++i) {
    const Box box = draw_erasing(0.25, size, Draws(kStream, 0, i));
    if (box.area() == 0) continue;
    ++erased;
    REQUIRE(box.top >= 0);
    REQUIRE(box.left >= 0);
    REQUIRE(box.bottom <= 32);
    REQUIRE(box.right <= 32);
    const double area = static_cast<double>(box.area()) / 1024;
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    const double aspect =
        static_cast<double>(box.bottom - box.top) / static_cast<double>(box.right - box.left);
    CHECK(aspect > 0.2);  // 0.3 and 1 / 0.3 before both sides are rounded
    CHECK(aspect < 5);
  }
  CHECK(std::abs(erased - 1000) < 140);  // five standard deviations
  CHECK(smallest < 0.03);
  CHECK(smallest > 0.01);
  CHECK(largest > 0.3);
  CHECK(largest < 0.37);
  CHECK(draw_erasing(0, size, Draws(kStream, 0, 0)).area() == 0);
}

TEST_CASE("erasing: only the box becomes 0") {
  std::vector<float> image(2 * 3 * 2, 1);
  erase(image.data(), {2, 2, 3}, {.top = 0, .left = 1, .bottom = 1, .right = 3});
  CHECK(image == std::vector<float>{1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1});
}

TEST_CASE("beta: mean and variance are those of Beta(alpha, alpha), for small alpha too") {
  for (const double alpha : {0.01, 0.2, 0.8, 1.0, 4.0}) {
    CAPTURE(alpha);
    std::vector<double> x;
    for (int64_t i = 0; i < 20000; ++i) {
      Draws draws(kStream, 0, i);
      x.push_back(draw_beta(alpha, draws));
      REQUIRE(x.back() >= 0);
      REQUIRE(x.back() <= 1);
    }
    const Moments m = moments(x);
    const double variance = 1 / (4 * (2 * alpha + 1));
    CHECK(std::abs(m.mean - 0.5) < 5 * std::sqrt(variance / 20000));
    CHECK(m.variance == doctest::Approx(variance).epsilon(0.04));  // about five standard deviations
  }
}

TEST_CASE("mix: lambda of mixup is Beta(alpha, alpha), that of cutmix the area that is left") {
  const ImageSize size{1, 28, 28};
  std::vector<double> x;
  for (int64_t i = 0; i < 20000; ++i) {
    const Mix mix = draw_mix({.mixup = 0.8}, size, Draws(kStream, 2, i));
    REQUIRE(!mix.is_cutmix);
    x.push_back(mix.lambda);
  }
  CHECK(moments(x).mean == doctest::Approx(0.5).epsilon(0.03));
  CHECK(moments(x).variance == doctest::Approx(1 / (4 * 2.6)).epsilon(0.04));
  double lambda = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    const Mix mix = draw_mix({.cutmix = 1}, size, Draws(kStream, 2, i));
    REQUIRE(mix.is_cutmix);
    REQUIRE(mix.box.top >= 0);
    REQUIRE(mix.box.left >= 0);
    REQUIRE(mix.box.bottom <= 28);
    REQUIRE(mix.box.right <= 28);
    REQUIRE(mix.lambda == 1 - static_cast<double>(mix.box.area()) / 784);
    lambda += mix.lambda / 2000;
  }
  CHECK(lambda > 0.55);  // clipping gives area back: more than the 0.5 of the unclipped box
  CHECK(lambda < 0.75);
}

TEST_CASE("mix: with both on each is taken half of the time, with none nothing happens") {
  int cutmix = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    cutmix += draw_mix({.mixup = 0.8, .cutmix = 1}, {1, 28, 28}, Draws(kStream, 3, i)).is_cutmix;
  }
  CHECK(std::abs(cutmix - 1000) < 112);  // five standard deviations
  CHECK(draw_mix({}, {1, 28, 28}, Draws(kStream, 3, 0)).lambda == 1);
}

TEST_CASE("mix: each image is mixed with the one at the mirrored place, the middle one stays") {
  const ImageSize size{1, 1, 2};
  std::vector<float> x = {0, 4, 7, 7, 8, 0};
  mix_images(x.data(), 3, size, {.lambda = 0.75});
  CHECK(x == std::vector<float>{2, 3, 7, 7, 6, 1});
  std::vector<float> y = {0, 4, 7, 7, 8, 1};
  mix_images(y.data(), 3, size, {.lambda = 0.5, .is_cutmix = true, .box = {0, 1, 1, 2}});
  CHECK(y == std::vector<float>{0, 1, 7, 7, 8, 4});
}

TEST_CASE("targets: smoothing and mixing give the rows worked by hand") {
  const std::array<int32_t, 2> labels = {0, 2};
  std::array<float, 8> t{};
  write_targets(labels, 4, 0, 1, t.data());
  CHECK(t == std::array<float, 8>{1, 0, 0, 0, 0, 0, 1, 0});
  write_targets(labels, 4, 0.2, 0.75, t.data());  // off 0.05, on 0.85
  const std::array<double, 8> expected = {0.65, 0.05, 0.25, 0.05, 0.25, 0.05, 0.65, 0.05};
  for (size_t i = 0; i < 8; ++i) CHECK(t[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  const std::array<int32_t, 2> same = {1, 1};
  write_targets(same, 4, 0.2, 0.3, t.data());
  CHECK(t[1] == doctest::Approx(0.85).epsilon(1e-6));
  CHECK(t[0] == doctest::Approx(0.05).epsilon(1e-6));
}

}  // namespace vtrain
