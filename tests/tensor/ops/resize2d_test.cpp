#include "tensor/ops/resize2d.h"

#include <doctest/doctest.h>

#include <vector>

#include "tensor/parallel.h"
#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)
using Mode = ResizeMode;

constexpr ResizeOptions kAll[] = {{Mode::kNearest, false},
                                  {Mode::kBilinear, false},
                                  {Mode::kBilinear, true},
                                  {Mode::kBicubic, false},
                                  {Mode::kBicubic, true}};

TEST_CASE("resize2d: f32 and bf16 kernels agree with the plain f64 loops for any channel count") {
  for (const ResizeOptions& options : kAll) {
    CAPTURE(static_cast<int>(options.mode));
    for (const int64_t channels : {1, 3, 16, 37}) {
      CAPTURE(channels);
      for (const Extent2d size : {Extent2d(1), Extent2d(3, 11), Extent2d(14, 2)}) {
        const Shape shape{2, channels, 7, 5};
        const ResizeMaps maps = resize_maps(shape, size, options), back = maps.transposed();
        for (const DType dtype : {DType::f32, DType::bf16}) {
          const Tensor x = uniform(shape, -1, 1, "x", dtype),
                       dy = uniform({2, channels, size.h, size.w}, -1, 1, "dy", dtype);
          // Values of at most 2, gradients of at most about 10, with 24 or 8 bits.
          const double tolerance = dtype == DType::f32 ? 1e-6 : 1e-2;
          CHECK(max_difference(resize2d(x, maps).to(DType::f64), resize2d(x.to(DType::f64), maps)) <
                tolerance);
          CHECK(max_difference(resize2d(dy, back).to(DType::f64),
                               resize2d(dy.to(DType::f64), back)) < 4 * tolerance);
        }
      }
    }
  }
}

TEST_CASE("resize2d: the same at every instruction level that the machine has") {
  check_at_every_level("resize2d: f32 and bf16 kernels*");
}

TEST_CASE("resize2d: weights of every output add up to 1, so a constant stays") {
  for (const ResizeOptions& options : kAll) {
    for (const Extent2d size : {Extent2d(1), Extent2d(13, 3), Extent2d(4, 100)}) {
      const ResizeMaps maps = resize_maps({1, 1, 6, 9}, size, options);
      const Tensor y = resize2d(full({1, 1, 6, 9}, 3, DType::f64), maps);
      CHECK(max_difference(y, full(y.shape(), 3, DType::f64)) < 1e-14);
    }
  }
}

TEST_CASE("resize2d: worked by hand") {
  const auto row = [](std::initializer_list<double> values, int64_t out, const ResizeOptions& o) {
    const auto n = static_cast<int64_t>(values.size());
    const Tensor x = from_values({1, 1, 1, n}, values, DType::f64);
    return resize2d(x, resize_maps(x.shape(), {1, out}, o)).to_vector();
  };
  using Row = std::vector<double>;
  CHECK(row({1, 2, 3}, 7, {Mode::kNearest}) == Row{1, 1, 1, 2, 2, 3, 3});  // floor(3 i / 7)
  CHECK(row({0, 4}, 4, {Mode::kBilinear}) == Row{0, 1, 3, 4});  // at -0.25, 0.25, 0.75, 1.25
  CHECK(row({0, 3}, 4, {Mode::kBilinear, true}) == Row{0, 1, 2, 3});
  CHECK(row({5, 1, 2}, 1, {Mode::kBilinear, true}) == Row{5});
  // Half way between inputs 0 and 1, where the weights of -1 (which is 0), 0, 1, 2 are a / 8,
  // (4 - a) / 8, (4 - a) / 8, a / 8: all but the last see a 1.
  CHECK(row({1, 1, 0, 0}, 2, {Mode::kBicubic})[0] == doctest::Approx(1 + 0.75 / 8));
}

TEST_CASE("resize2d: results do not depend on the number of threads") {
  const int before = num_threads();
  const Shape shape{2, 24, 30, 31};
  const Tensor x = uniform(shape, -1, 1, "x", DType::f32);
  const ResizeMaps maps = resize_maps(shape, {44, 17}, {Mode::kBicubic});
  set_num_threads(1);
  const Tensor y = resize2d(x, maps);
  const std::vector<double> dx = resize2d(y, maps.transposed()).to_vector();
  set_num_threads(3);
  CHECK(resize2d(x, maps).to_vector() == y.to_vector());
  CHECK(resize2d(y, maps.transposed()).to_vector() == dx);
  set_num_threads(before);
}

TEST_CASE("resize2d: an image in any memory order is read by its logical index") {
  const Tensor x = uniform({2, 6, 4, 3}, -1, 1, "x", DType::f32);
  const ResizeMaps maps = resize_maps(x.shape(), {5, 5}, {});
  CHECK(resize2d(x, maps).is_channels_last());
  CHECK(resize2d(x.channels_last(), maps).to_vector() == resize2d(x, maps).to_vector());
  CHECK(resize2d(x.transpose(1, 3).contiguous().transpose(1, 3), maps).to_vector() ==
        resize2d(x, maps).to_vector());
}

TEST_CASE("resize2d: what does not fit is named") {
  CHECK_THROWS_WITH_AS(resize_maps({1, 2, 4, 4}, {0, 2}, {}),
                       "[resize2d] size: expected at least 1, got (0, 2)", ShapeError);
  CHECK_THROWS_WITH_AS(resize_maps({2, 4, 4}, 2, {}),
                       "[resize2d] x (2, 4, 4): expected (N, C, H, W), H and W at least 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(resize_maps({1, 2, 4, 4}, 2, {Mode::kNearest, true}),
                       "[resize2d] align_corners: expected false with nearest", ShapeError);
  const ResizeMaps maps = resize_maps({1, 2, 4, 4}, 2, {});
  CHECK_THROWS_WITH_AS(resize2d(zeros({1, 2, 4, 5}), maps),
                       "[resize2d] x (1, 2, 4, 5): expected (N, C, 4, 4), the maps' inputs",
                       ShapeError);
  CHECK_THROWS_WITH_AS(resize2d(zeros({0, 2, 4, 4}), maps),
                       "[resize2d] x (0, 2, 4, 4): the batch is empty", ShapeError);
}

}  // namespace
}  // namespace vtrain
