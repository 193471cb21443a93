#include "tensor/ops/unary.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/random.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

TEST_CASE("unary: at_least is a decision, its bound included, NaN excluded") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const DType dtype : {DType::f32, DType::f64}) {
    CHECK(at_least(from_values({4}, {-1, 0, 1, nan}, dtype), 0).to_vector() == Values{0, 1, 1, 0});
    CHECK(at_least(from_values({1}, {-0.0}, dtype), 0).item() == 1);
  }
}

TEST_CASE("unary: f32 agrees with the C library in double to its rounding") {
  const Tensor x = Random(1, "", "unary").uniform({1, 999}, {});
  const auto check = [&x](const Tensor& y, double (*f)(double)) {
    const Values in = x.to_vector(), out = y.to_vector();
    for (size_t i = 0; i < in.size(); ++i) {
      CHECK(std::abs(out[i] - f(in[i])) <= 2e-7 * std::max(1.0, std::abs(f(in[i]))));
    }
  };
  check(exp(x), [](double v) { return std::exp(v); });
  check(log(x), [](double v) { return std::log(v); });
  check(sqrt(x), [](double v) { return std::sqrt(v); });
  check(square(x), [](double v) { return v * v; });
  check(sigmoid(x), [](double v) { return 1 / (1 + std::exp(-v)); });
  check(negate(x), [](double v) { return -v; });
}

TEST_CASE("unary: the limits of the functions come out as such") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(exp(from_values({2}, {-inf, 1000})).to_vector() == Values{0, inf});
  CHECK(log(from_values({2}, {0, inf})).to_vector() == Values{-inf, inf});
  CHECK(std::isnan(log(from_values({1}, {-1})).item()));
  CHECK(std::isnan(sqrt(from_values({1}, {-1})).item()));
  CHECK(sigmoid(from_values({4}, {-inf, -1000, 1000, inf})).to_vector() == Values{0, 0, 1, 1});
  CHECK(relu(from_values({3}, {-inf, -0.0, inf})).to_vector() == Values{0, 0, inf});
}

TEST_CASE("unary: memory order is kept and views are read by their strides") {
  const Tensor x = Random(1, "", "unary").normal({2, 3, 2, 2}, {});
  CHECK(exp(x.channels_last()).is_channels_last());
  CHECK(exp(x.channels_last()).to_vector() == exp(x).to_vector());
  CHECK(relu(x.slice(1, 1, 3)).to_vector() == relu(x.slice(1, 1, 3).contiguous()).to_vector());
}

TEST_CASE("unary: only f32 and f64 are computed with") {
  CHECK_THROWS_WITH_AS(exp(zeros({2}, DType::i32)),
                       "[exp] x: expected f32, f64 or bf16, got i32 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(at_least(zeros({2}, DType::u8), 0),
                       "[at_least] x: expected f32, f64 or bf16, got u8 (2) on cpu", ShapeError);
}

}  // namespace
}  // namespace vtrain
