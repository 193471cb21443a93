#include "tensor/ops/activation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)
using Kind = ActivationKind;

constexpr Kind kKinds[] = {Kind::kRelu6, Kind::kLeakyRelu, Kind::kSigmoid,     Kind::kTanh,
                           Kind::kSilu,  Kind::kGeluTanh,  Kind::kHardSigmoid, Kind::kHardSwish};
constexpr double kSlope = 0.2;

/// Over [-15, 15] in equal steps, none of them at a corner.
Tensor line(int64_t n, DType dtype) {
  std::vector<double> values;
  for (int64_t i = 0; i < n; ++i)
    values.push_back(-15 + 30 * (static_cast<double>(i) + 0.513) / static_cast<double>(n));
  return from_values({n}, values, dtype);
}

TEST_CASE("activation: f32 and bf16 kernels agree with the plain f64 loops for any count") {
  for (const Kind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    for (const int64_t n : {1, 7, 16, 37, 40003}) {
      CAPTURE(n);
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Tensor x = line(n, dtype), dy = uniform({n}, -1, 1, "dy", dtype);
        const Tensor wide = x.to(DType::f64);
        const std::vector<double> fast = activation(kind, x, kSlope).to_vector(),
                                  exact = activation(kind, wide, kSlope).to_vector(),
                                  at = wide.to_vector();
        double worst = 0;
        for (size_t i = 0; i < at.size(); ++i)
          worst = std::max(worst, std::abs(fast[i] - exact[i]) / std::max(1.0, std::abs(at[i])));
        // A few roundings of 6e-8, or one of 2^-8.
        CHECK(worst < (dtype == DType::f32 ? 3e-7 : 4e-3));
        CHECK(max_difference(activation_grad(kind, x, dy, kSlope).to(DType::f64),
                             activation_grad(kind, wide, dy.to(DType::f64), kSlope)) <
              (dtype == DType::f32 ? 5e-7 : 5e-3));
      }
    }
  }
}

TEST_CASE("activation: the same at every instruction level that the machine has") {
  check_at_every_level("activation: f32 and bf16 kernels*");
}

TEST_CASE("activation: tails of sigmoid and small values of tanh keep their relative precision") {
  for (const double x : {-80.0, -50.0, -20.0, -1e-3, 1e-6, 0.3, 0.62, 0.63}) {
    CAPTURE(x);
    const Tensor narrow = full({1}, x), wide = narrow.to(DType::f64), one = ones({1});
    const auto relative = [](const Tensor& a, const Tensor& b) { return a.item() / b.item(); };
    CHECK(relative(activation(Kind::kSigmoid, narrow), activation(Kind::kSigmoid, wide)) ==
          doctest::Approx(1).epsilon(1e-6));
    CHECK(relative(activation(Kind::kTanh, narrow), activation(Kind::kTanh, wide)) ==
          doctest::Approx(1).epsilon(1e-6));
    if (x > -40) {  // beyond, the slope's exponential is below the smallest float
      CHECK(relative(activation_grad(Kind::kTanh, narrow, one),
                     activation_grad(Kind::kTanh, wide, one.to(DType::f64))) ==
            doctest::Approx(1).epsilon(1e-6));
    }
  }
}

TEST_CASE("activation: worked by hand, at the corners too") {
  struct Row {
    Kind kind;
    std::vector<double> y, dx;
  };
  const std::vector<double> x{-4, -3, -1.5, 0, 1.5, 3, 6, 7};
  const Row rows[] = {
      {Kind::kRelu6, {0, 0, 0, 0, 1.5, 3, 6, 6}, {0, 0, 0, 0, 1, 1, 0, 0}},
      {Kind::kLeakyRelu, {-1, -0.75, -0.375, 0, 1.5, 3, 6, 7}, {.25, .25, .25, .25, 1, 1, 1, 1}},
      {Kind::kHardSigmoid,
       {0, 0, 0.25, 0.5, 0.75, 1, 1, 1},
       {0, 0, 1 / 6., 1 / 6., 1 / 6., 0, 0, 0}},
      {Kind::kHardSwish, {0, 0, -0.375, 0, 1.125, 3, 6, 7}, {0, 0, 0, 0.5, 1, 1, 1, 1}},
  };
  for (const Row& row : rows) {
    CAPTURE(static_cast<int>(row.kind));
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor at = from_values({8}, x, dtype);
      CHECK(max_difference(activation(row.kind, at, 0.25), from_values({8}, row.y, dtype)) < 1e-7);
      CHECK(max_difference(activation_grad(row.kind, at, ones_like(at), 0.25),
                           from_values({8}, row.dx, dtype)) < 1e-7);
    }
  }
  // The card of MobileNet V3: hard_swish(1) = 2 / 3.
  CHECK(activation(Kind::kHardSwish, full({1}, 1, DType::f64)).item() == doctest::Approx(2 / 3.0));
}

TEST_CASE("activation: infinity gives the limit, not-a-number comes through") {
  const double infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  struct Row {
    Kind kind;
    double low, high, low_slope, high_slope;
  };
  const Row rows[] = {
      {Kind::kRelu6, 0, 6, 0, 0},       {Kind::kLeakyRelu, -infinity, infinity, kSlope, 1},
      {Kind::kSigmoid, 0, 1, 0, 0},     {Kind::kTanh, -1, 1, 0, 0},
      {Kind::kSilu, 0, infinity, 0, 1}, {Kind::kGeluTanh, 0, infinity, 0, 1},
      {Kind::kHardSigmoid, 0, 1, 0, 0}, {Kind::kHardSwish, 0, infinity, 0, 1}};
  for (const Row& row : rows) {
    CAPTURE(static_cast<int>(row.kind));
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      CAPTURE(name_of(dtype));
      const Tensor x = from_values({5}, {-infinity, infinity, nan, -1e30, 1e30}, dtype);
      const std::vector<double> y = activation(row.kind, x, kSlope).to_vector(),
                                dx = activation_grad(row.kind, x, ones_like(x), kSlope).to_vector();
      CHECK(y[0] == row.low);
      CHECK(y[1] == row.high);
      CHECK(std::isnan(y[2]));
      CHECK(dx[0] == doctest::Approx(row.low_slope).epsilon(0.01));
      CHECK(dx[1] == row.high_slope);
      CHECK(dx[3] == doctest::Approx(row.low_slope).epsilon(0.01));
      CHECK(dx[4] == row.high_slope);
    }
  }
}

TEST_CASE("activation: memory order is kept, and another order is read by its logical index") {
  const Tensor x = uniform({2, 3, 5, 4}, -4, 4, "x", DType::f32),
               dy = uniform({2, 3, 5, 4}, -1, 1, "dy", DType::f32);
  for (const Kind kind : kKinds) {
    const Tensor y = activation(kind, x.channels_last());
    CHECK(y.is_channels_last());
    CHECK(max_difference(y, activation(kind, x)) < 1e-6);
    CHECK(max_difference(activation_grad(kind, x.channels_last(), dy),
                         activation_grad(kind, x, dy)) < 1e-6);
    CHECK(max_difference(activation(kind, x.slice(2, 1, 4)), activation(kind, x).slice(2, 1, 4)) <
          1e-6);
  }
}

TEST_CASE("activation: wrong arguments are named") {
  CHECK_THROWS_WITH_AS(activation(Kind::kSilu, zeros({2}, DType::i32)),
                       doctest::Contains("[activation] x: expected f32, f64 or bf16"), ShapeError);
  CHECK_THROWS_WITH_AS(activation_grad(Kind::kSilu, zeros({2, 3}), zeros({3, 2})),
                       "[activation_grad] dy (3, 2): expected the shape of x (2, 3)", ShapeError);
}

}  // namespace
}  // namespace vtrain
