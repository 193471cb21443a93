#include "tensor/ops/gelu.h"

#include <doctest/doctest.h>

#include <limits>

#include "numeric.h"

using namespace vtrain;
using namespace vtrain::testing;

TEST_CASE("gelu: f32 agrees with the f64 reference on [-15, 15] within 5e-7 of max(1, |x|)") {
  for (const int64_t n : {1, 7, 96, 100, 40001}) {
    CAPTURE(n);
    std::vector<double> values;
    for (int64_t i = 0; i < n; ++i) {
      values.push_back(
          static_cast<float>(-15 + 30 * (static_cast<double>(i) + 0.5) / static_cast<double>(n)));
    }
    const Tensor x = from_values({n}, values, DType::f64),
                 dy = uniform({n}, -1, 1, "dy", DType::f32);
    const std::vector<double> exact = gelu(x).to_vector(),
                              fast = gelu(x.to(DType::f32)).to_vector();
    double worst = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      worst = std::max(worst, std::abs(exact[i] - fast[i]) / std::max(1.0, std::abs(values[i])));
    }
    CHECK(worst < 5e-7);
    // The gradient's terms are at most 1.2, so a few roundings of 6e-8 beside the polynomial's
    // 9e-8.
    CHECK(max_difference(gelu_grad(x, dy.to(DType::f64)), gelu_grad(x.to(DType::f32), dy)) < 5e-7);
  }
}

TEST_CASE("gelu: values of the normal distribution, from tables") {
  // Phi(1) = 0.841344746068543, Phi(-3) = 0.00134989803163009
  const Tensor x = from_values({4}, {0, 1, -1, -3}, DType::f64);
  const std::vector<double> expected{0, 0.841344746068543, -0.158655253931457, -0.00404969409489};
  CHECK(max_difference(gelu(x), from_values({4}, expected, DType::f64)) < 1e-13);
  CHECK(max_difference(gelu(x.to(DType::f32)), from_values({4}, expected, DType::f64)) < 1e-7);
}

TEST_CASE("gelu: gradient agrees with central differences") {
  const Tensor x = uniform({31}, -6, 6, "x"), dy = uniform({31}, -1, 1, "dy");
  CHECK(gradient_error([&](const Tensor& at) { return dot(gelu(at), dy); }, x, gelu_grad(x, dy)) <
        kDifferenceError);
}

TEST_CASE("gelu: far ends are 0 and x, infinity stays, not-a-number comes through") {
  const double infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = from_values(
      {20},
      {-1e30, 1e30, infinity, nan, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1e30, 1e30, infinity, nan});
  const std::vector<double> y = gelu(x).to_vector(), dx = gelu_grad(x, ones_like(x)).to_vector();
  for (const size_t i : {size_t{0}, size_t{16}}) {
    CHECK(y[i] == 0);
    CHECK(y[i + 1] == static_cast<double>(1e30f));
    CHECK(y[i + 2] == infinity);
    CHECK(std::isnan(y[i + 3]));
    CHECK(dx[i] == 0);
    CHECK(dx[i + 1] == 1);
    CHECK(dx[i + 2] == 1);
    CHECK(std::isnan(dx[i + 3]));
  }
}

TEST_CASE(
    "gelu: memory order is kept, and a gradient of another order is read by its logical index") {
  const Tensor x = uniform({2, 3, 5, 4}, -2, 2, "x", DType::f32),
               dy = uniform({2, 3, 5, 4}, -1, 1, "dy", DType::f32);
  CHECK(gelu(x.channels_last()).is_channels_last());
  CHECK(max_difference(gelu(x.channels_last()), gelu(x)) < 1e-7);
  CHECK(max_difference(gelu_grad(x.channels_last(), dy), gelu_grad(x, dy)) < 1e-7);
  CHECK(max_difference(gelu(x.slice(2, 1, 4)), gelu(x).slice(2, 1, 4)) < 1e-7);
}

TEST_CASE("gelu: wrong arguments are named") {
  CHECK_THROWS_WITH_AS(gelu(zeros({2}, DType::i32)),
                       "[gelu] x: expected f32, f64 or bf16, got i32 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(gelu_grad(zeros({2, 3}), zeros({3, 2})),
                       "[gelu_grad] dy (3, 2): expected the shape of x (2, 3)", ShapeError);
}
