#include "tensor/ops/batch_norm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "tensor/random.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)
using Activation = BatchNormActivation;

Tensor image(const Shape& shape, const char* stream, DType dtype = DType::f64) {
  return uniform(shape, -1, 1, stream, dtype).channels_last();
}

struct Case {
  Shape x;
  Activation activation;
  bool has_residual;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  // One channel, few, not divisible by a vector, many; rows that do not fill one packed row.
  for (const Shape& x : {Shape{2, 1, 1, 1}, Shape{3, 3, 5, 7}, Shape{2, 16, 3, 3},
                         Shape{2, 24, 5, 5}, Shape{1, 130, 3, 2}, Shape{5, 67, 1, 1}}) {
    for (const Activation a : {Activation::kNone, Activation::kRelu, Activation::kRelu6}) {
      for (const bool has_residual : {false, true}) all.push_back({x, a, has_residual});
    }
  }
  return all;
}

/// Outputs near a corner of the activation may fall on either side in a narrower type.
double largest_masked_difference(const Tensor& actual, const Tensor& expected, const Tensor& y,
                                 double margin) {
  double worst = 0;
  const std::vector<double> a = actual.to_vector(), b = expected.to_vector(), out = y.to_vector();
  for (size_t i = 0; i < a.size(); ++i) {
    const bool is_corner = std::abs(out[i]) < margin || std::abs(out[i] - 6) < margin;
    if (!is_corner) worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  return worst;
}

TEST_CASE("batch_norm: f32 and bf16 kernels agree with the plain f64 loops for any channel count") {
  for (const Case& c : cases()) {
    CAPTURE(shape_text(c.x));
    CAPTURE(static_cast<int>(c.activation));
    CAPTURE(c.has_residual);
    const Shape channels{c.x[1]};
    const BatchNormOptions options{.activation = c.activation};
    for (const DType dtype : {DType::f32, DType::bf16}) {
      // Rounded to the narrow type first, so that both compute from the same numbers.
      const auto narrow = [&](const char* stream, double scale) {
        Tensor t = image(c.x, stream);
        for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] *= scale;
        return t.to(dtype);
      };
      const Tensor x = narrow("x", 3), dy = narrow("dy", 1),
                   residual = c.has_residual ? narrow("residual", 2) : Tensor();
      const Tensor weight = uniform(channels, 0.5, 1.5, "weight", DType::f32),
                   bias = uniform(channels, -1, 1, "bias", DType::f32);
      const auto wide = [](const Tensor& t) { return t.defined() ? t.to(DType::f64) : t; };
      const BatchNormOutput fast = batch_norm(x, weight, bias, residual, {}, {}, options),
                            exact = batch_norm(wide(x), wide(weight), wide(bias), wide(residual),
                                               {}, {}, options);
      // f32 sums of up to 75 numbers of size 3; bf16 results carry 8 bits and reach 7 or so.
      const double tolerance = dtype == DType::f32 ? 2e-5 : 4e-2;
      CHECK(max_difference(fast.mean.to(DType::f64), exact.mean) < 1e-5);
      CHECK(max_difference(fast.y.to(DType::f64), exact.y) < tolerance);
      const BatchNormGrads grads =
          batch_norm_grad(x, weight, bias, fast, c.has_residual, dy, options);
      // The exact gradient with the masks of the fast one's output.
      const BatchNormGrads reference =
          batch_norm_grad(wide(x), wide(weight), wide(bias), {exact.y, exact.mean, exact.rstd},
                          c.has_residual, wide(dy), options);
      if (c.activation != Activation::kNone) continue;  // masks at corners differ: see below
      // rstd of two nearly equal elements is large, so tolerances are relative to it.
      double rstd = 1;
      for (const double r : exact.rstd.to_vector()) rstd = std::max(rstd, r);
      CHECK(max_difference(grads.dx.to(DType::f64), reference.dx) < tolerance * rstd);
      CHECK(max_difference(grads.dweight.to(DType::f64), reference.dweight) < 1e-4 * rstd);
      CHECK(max_difference(grads.dbias.to(DType::f64), reference.dbias) < 1e-4);
    }
  }
}

TEST_CASE("batch_norm: the gradient behind an activation is that of f64 away from its corners") {
  for (const Case& c : cases()) {
    if (c.activation == Activation::kNone || c.x[0] * c.x[2] * c.x[3] < 20) continue;
    CAPTURE(shape_text(c.x));
    CAPTURE(c.has_residual);
    const Shape channels{c.x[1]};
    const BatchNormOptions options{.activation = c.activation};
    const auto run = [&](DType dtype) {
      const Tensor x = image(c.x, "x", dtype), dy = image(c.x, "dy", dtype),
                   residual = c.has_residual ? image(c.x, "residual", dtype) : Tensor();
      const Tensor weight = uniform(channels, 2, 4, "weight", dtype),
                   bias = uniform(channels, 0, 3, "bias", dtype);
      const BatchNormOutput out = batch_norm(x, weight, bias, residual, {}, {}, options);
      return std::pair{out.y.to(DType::f64),
                       batch_norm_grad(x, weight, bias, out, c.has_residual, dy, options)};
    };
    const auto [y, fast] = run(DType::f32);
    const auto [exact_y, exact] = run(DType::f64);
    CHECK(max_difference(y, exact_y) < 2e-5);
    if (c.has_residual) {
      CHECK(largest_masked_difference(fast.dresidual.to(DType::f64), exact.dresidual, exact_y,
                                      1e-4) < 1e-6);
    }
    CHECK(largest_masked_difference(fast.dx.to(DType::f64), exact.dx, exact_y, 1e-4) < 1e-3);
  }
}

TEST_CASE("batch_norm: running statistics move by momentum, the variance without its bias") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    // One channel: 1, 3 has mean 2 and unbiased variance 2.
    const Tensor x = from_values({2, 1, 1, 1}, {1, 3}, dtype);
    Tensor mean = full({1}, 10, dtype), var = full({1}, 1, dtype);
    batch_norm(x, {}, {}, {}, mean, var, {.momentum = 0.25});
    CHECK(mean.item() == doctest::Approx(0.75 * 10 + 0.25 * 2));
    CHECK(var.item() == doctest::Approx(0.75 * 1 + 0.25 * 2));
    const uint64_t version = mean.version();
    const BatchNormOutput out =
        batch_norm(x, {}, {}, {}, mean, var, {.statistics = BatchNormStatistics::kRunning});
    CHECK(mean.version() == version);
    CHECK(out.y.to_vector()[0] ==
          doctest::Approx((1 - mean.item()) / std::sqrt(var.item() + 1e-5)));
  }
}

TEST_CASE("batch_norm: its output computed again is the same, bit for bit") {
  for (const Case& c : cases()) {
    CAPTURE(shape_text(c.x));
    CAPTURE(c.has_residual);
    CAPTURE(static_cast<int>(c.activation));
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const Tensor x = image(c.x, "x", dtype);
      const Tensor weight = uniform({c.x[1]}, 0.5, 1.5, "w", wide_of(dtype)),
                   bias = uniform({c.x[1]}, -1, 1, "b", wide_of(dtype));
      const Tensor residual = c.has_residual ? image(c.x, "r", dtype) : Tensor();
      const auto [y, mean, rstd] =
          batch_norm(x, weight, bias, residual, {}, {}, {.activation = c.activation});
      CHECK(batch_norm_again(x, weight, bias, residual, mean, rstd, c.activation).to_vector() ==
            y.to_vector());
    }
  }
}

TEST_CASE("batch_norm: a large common offset does not destroy the variance") {
  std::vector<double> values;
  for (int i = 0; i < 16; ++i) values.push_back(4096 + i);
  const BatchNormOutput out =
      batch_norm(from_values({16, 1, 1, 1}, values), {}, {}, {}, {}, {}, {.eps = 0});
  CHECK(out.y.to_vector()[0] == doctest::Approx(-7.5 / std::sqrt(21.25)).epsilon(1e-6));
}

TEST_CASE("batch_norm: what does not fit is named") {
  CHECK_THROWS_WITH_AS(batch_norm(zeros({2, 3, 1, 1}), zeros({4}), {}, {}, {}, {}, {}),
                       "[batch_norm] weight (4): expected (3), one per channel of x (2, 3, 1, 1)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(batch_norm(zeros({1, 3, 1, 1}), {}, {}, {}, {}, {}, {}),
                       "[batch_norm] x (1, 3, 1, 1): expected at least 2 elements per channel",
                       ShapeError);
  CHECK_THROWS_WITH_AS(batch_norm(zeros({0, 3, 2, 2}), {}, {}, {}, {}, {}, {}),
                       doctest::Contains("expected at least 2 elements"), ShapeError);
  CHECK_THROWS_AS(
      batch_norm(zeros({2, 3}), {}, {}, {}, {}, {}, {.statistics = BatchNormStatistics::kRunning}),
      ShapeError);
}

}  // namespace
}  // namespace vtrain
