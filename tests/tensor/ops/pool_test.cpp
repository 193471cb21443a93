#include "tensor/ops/pool.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/parallel.h"
#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)

struct Case {
  Shape x;
  PoolWindows windows;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  // Fewer channels than a vector, whole vectors, and some behind them.
  for (const int64_t channels : {1, 3, 16, 37, 64}) {
    for (const Shape& x : {Shape{2, channels, 9, 7}, Shape{3, channels, 1, 1}}) {
      const bool is_point = x[2] == 1;
      for (const bool ceil_mode : {false, true}) {
        const Pool2dOptions overlapping{
            .kernel = 3, .stride = 2, .padding = 1, .ceil_mode = ceil_mode};
        all.push_back({x, sliding_windows("pool", x, overlapping)});
      }
      if (!is_point)
        all.push_back({x, sliding_windows("pool", x, {.kernel = {2, 3}, .stride = 3})});
      all.push_back({x, adaptive_windows("pool", x, {4, 3})});
      all.push_back({x, adaptive_windows("pool", x, 1)});
    }
  }
  all.push_back({{1, 5, 20, 30}, adaptive_windows("pool", {1, 5, 20, 30}, {1, 2})});  // 300 taps
  return all;
}

TEST_CASE("pool: f32 and bf16 kernels agree with the plain f64 loops for any channel count") {
  for (const Case& c : cases()) {
    CAPTURE(shape_text(c.x));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      CAPTURE(name_of(dtype));
      // Rounded to the narrow type first, so that both compute from the same numbers; steps of 1/4
      // make ties.
      Tensor coarse = uniform(c.x, -2, 2, "x");
      for (int64_t i = 0; i < coarse.numel(); ++i)
        coarse.data<double>()[i] = std::round(coarse.data<double>()[i] * 4) / 4;
      const Shape y_shape{c.x[0], c.x[1], c.windows.rows.out, c.windows.columns.out};
      const Tensor x = coarse.to(dtype), exact_x = x.to(DType::f64);
      const Tensor dy = uniform(y_shape, -1, 1, "dy", dtype), exact_dy = dy.to(DType::f64);
      // A sum of up to nine numbers of size 1, rounded to 8 bits; in f32 to 24.
      const double tolerance = dtype == DType::f32 ? 1e-6 : 3e-2;

      const MaxPool fast = max_pool(x, c.windows, PoolTaps::kKeep),
                    exact = max_pool(exact_x, c.windows, PoolTaps::kKeep);
      CHECK(max_difference(fast.y.to(DType::f64), exact.y) == 0);
      CHECK(fast.taps.to_vector() == exact.taps.to_vector());
      CHECK(fast.taps.dtype() == (c.windows.taps() > 256 ? DType::i32 : DType::u8));
      CHECK(max_pool(x, c.windows, PoolTaps::kDrop).y.to_vector() == fast.y.to_vector());
      CHECK(max_difference(max_pool_grad(dy, fast.taps, c.windows).to(DType::f64),
                           max_pool_grad(exact_dy, exact.taps, c.windows)) < tolerance);

      CHECK(max_difference(average_pool(x, c.windows).to(DType::f64),
                           average_pool(exact_x, c.windows)) < tolerance);
      CHECK(max_difference(average_pool_grad(dy, c.windows).to(DType::f64),
                           average_pool_grad(exact_dy, c.windows)) < tolerance);
    }
  }
}

TEST_CASE("pool: the same at every instruction level that the machine has") {
  check_at_every_level("pool: f32 and bf16 kernels*");
}

TEST_CASE("pool: of equal values the first is the maximum, of NaNs the last, and NaN stays") {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               low = -std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const Tensor x = from_values({1, 1, 2, 8},
                                 {7, 5, 1, nan, low, low, -0.0, 0.0,  //
                                  7, 7, nan, 9, low, low, 0.0, -0.0},
                                 dtype);
    const MaxPool out =
        max_pool(x, sliding_windows("pool", x.shape(), {.kernel = 2}), PoolTaps::kKeep);
    const std::vector<double> y = out.y.to_vector();
    CHECK(y[0] == 7);
    CHECK(std::isnan(y[1]));
    CHECK(y[2] == low);
    CHECK(y[3] == 0);
    CHECK(out.taps.to_vector() == std::vector<double>{0, 2, 0, 0});
  }
}

TEST_CASE("pool: sizes and divisors of windows, worked by hand") {
  const auto rows = [](int64_t h, const Pool2dOptions& o) {
    return sliding_windows("pool", {1, 1, h, h}, o).rows;
  };
  // AlexNet, GoogLeNet and ResNet: 55 -> 27, 112 -> 56 by ceil, 112 -> 56 by padding.
  CHECK(rows(55, {.kernel = 3, .stride = 2}).out == 27);
  CHECK(rows(112, {.kernel = 3, .stride = 2}).out == 55);
  CHECK(rows(112, {.kernel = 3, .stride = 2, .ceil_mode = true}).out == 56);
  CHECK(rows(112, {.kernel = 3, .stride = 2, .padding = 1}).out == 56);
  // A window that would start behind the image is left out: ceil((5 + 2 - 2) / 3) + 1 = 3, the
  // third at 5.
  CHECK(rows(5, {.kernel = 2, .stride = 3, .padding = 1, .ceil_mode = true}).out == 2);
  const PoolAxis padded = rows(4, {.kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true});
  CHECK(padded.begin == std::vector<int32_t>{0, 1, 3});
  CHECK(padded.end == std::vector<int32_t>{2, 4, 4});
  CHECK(padded.share == std::vector<double>{1 / 3.0, 1 / 3.0, 1 / 2.0});  // one of the last is 0
  CHECK(padded.first == std::vector<int32_t>{0, 0, 1, 1});
  CHECK(padded.last == std::vector<int32_t>{1, 2, 2, 3});
  const PoolAxis adaptive = adaptive_windows("pool", {1, 1, 5, 1}, {3, 1}).rows;
  CHECK(adaptive.begin == std::vector<int32_t>{0, 1, 3});
  CHECK(adaptive.end == std::vector<int32_t>{2, 4, 5});
}

TEST_CASE("pool: an image in any memory order is read by its logical index") {
  const Tensor x = uniform({2, 6, 8, 5}, -1, 1, "x", DType::f32);
  const Tensor strided = x.transpose(2, 3).contiguous().transpose(2, 3);
  const PoolWindows windows = sliding_windows("pool", x.shape(), {.kernel = 3, .stride = 2});
  CHECK(average_pool(strided, windows).to_vector() ==
        average_pool(x.channels_last(), windows).to_vector());
  const MaxPool out = max_pool(strided, windows, PoolTaps::kKeep);
  CHECK(out.y.is_channels_last());
  CHECK(out.y.to_vector() == max_pool(x, windows, PoolTaps::kKeep).y.to_vector());
  const Tensor dy = uniform(out.y.shape(), -1, 1, "dy", DType::f32);
  CHECK(max_pool_grad(dy, out.taps.contiguous(), windows).to_vector() ==
        max_pool_grad(dy.channels_last(), out.taps, windows).to_vector());
}

TEST_CASE("pool: results do not depend on the number of threads") {
  const int before = num_threads();
  const Shape shape{3, 40, 31, 30};
  const Tensor x = uniform(shape, -1, 1, "x", DType::f32);
  const PoolWindows windows =
      sliding_windows("pool", shape, {.kernel = 3, .stride = 2, .padding = 1});
  const auto run = [&](int threads) {
    set_num_threads(threads);
    const MaxPool out = max_pool(x, windows, PoolTaps::kKeep);
    std::vector<std::vector<double>> all{out.y.to_vector(), out.taps.to_vector()};
    all.push_back(max_pool_grad(out.y, out.taps, windows).to_vector());
    all.push_back(average_pool(x, windows).to_vector());
    all.push_back(average_pool_grad(out.y, windows).to_vector());
    return all;
  };
  const auto one = run(1);
  CHECK(run(3) == one);
  CHECK(run(7) == one);
  set_num_threads(before);
}

TEST_CASE("pool: what does not fit is named") {
  CHECK_THROWS_WITH_AS(sliding_windows("max_pool2d", {1, 2, 4, 4}, {.kernel = 2, .padding = 2}),
                       "[max_pool2d] padding (2, 2): expected 0 to half the kernel (2, 2)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      sliding_windows("max_pool2d", {1, 2, 2, 4}, {.kernel = 3}),
      "[max_pool2d] x (1, 2, 2, 4): is smaller, padding included, than the kernel (3, 3)",
      ShapeError);
  CHECK_THROWS_WITH_AS(sliding_windows("max_pool2d", {2, 4, 4}, {}),
                       "[max_pool2d] x (2, 4, 4): expected (N, C, H, W)", ShapeError);
  CHECK_THROWS_WITH_AS(adaptive_windows("adaptive_max_pool2d", {1, 2, 4, 4}, {0, 3}),
                       "[adaptive_max_pool2d] size: expected at least 1, got (0, 3)", ShapeError);
  const PoolWindows windows = sliding_windows("pool", {1, 2, 4, 4}, {});
  CHECK_THROWS_WITH_AS(max_pool(zeros({0, 2, 4, 4}), windows, PoolTaps::kDrop),
                       "[max_pool] x (0, 2, 4, 4): the batch is empty", ShapeError);
  CHECK_THROWS_WITH_AS(average_pool(zeros({1, 2, 4, 6}), windows),
                       "[average_pool] x (1, 2, 4, 6): expected 4 x 4 positions, those of the "
                       "windows",
                       ShapeError);
  CHECK_THROWS_WITH_AS(average_pool_grad(zeros({1, 2, 4, 4}), windows),
                       "[average_pool_grad] dy (1, 2, 4, 4): expected 2 x 2 windows", ShapeError);
}

}  // namespace
}  // namespace vtrain
