#include "tensor/ops/softmax.h"

#include <doctest/doctest.h>

#include <limits>

#include "numeric.h"

using namespace vtrain;
using namespace vtrain::testing;

TEST_CASE("softmax: f32 agrees with the f64 reference for every row length and axis") {
  for (const int64_t n : {1, 7, 10, 96, 100, 197, 384, 1000}) {
    for (const int dim : {-1, 1, 0}) {
      CAPTURE(n);
      CAPTURE(dim);
      const Shape shape = dim == -1 ? Shape{3, 2, n} : dim == 1 ? Shape{3, n, 2} : Shape{n, 3, 2};
      const Tensor x = uniform(shape, -8, 8, "x", DType::f32),
                   dy = uniform(shape, -1, 1, "dy", DType::f32);
      const Tensor y = softmax(x, dim), exact = softmax(x.to(DType::f64), dim);
      // Probabilities are at most 1; exp is off by 2 ulp, its sum by a few more.
      CHECK(max_difference(y, exact) < 1e-6);
      CHECK(max_difference(softmax_grad(y, dy, dim), softmax_grad(exact, dy.to(DType::f64), dim)) <
            2e-6);
      const Tensor log_y = log_softmax(x, dim), exact_log = log_softmax(x.to(DType::f64), dim);
      CHECK(max_difference(log_y, exact_log) < 3e-6);  // log-probabilities reach -20
      // The sum of dy over a slice reaches 20, each exp(y) * sum is rounded there.
      CHECK(max_difference(log_softmax_grad(log_y, dy, dim),
                           log_softmax_grad(exact_log, dy.to(DType::f64), dim)) < 2e-5);
    }
  }
}

TEST_CASE("softmax: gradients agree with central differences") {
  for (const int dim : {0, 1, -1}) {
    CAPTURE(dim);
    const Tensor x = uniform({3, 5, 4}, -2, 2, "x"), dy = uniform({3, 5, 4}, -1, 1, "dy");
    CHECK(gradient_error([&](const Tensor& at) { return dot(softmax(at, dim), dy); }, x,
                         softmax_grad(softmax(x, dim), dy, dim)) < kDifferenceError);
    CHECK(gradient_error([&](const Tensor& at) { return dot(log_softmax(at, dim), dy); }, x,
                         log_softmax_grad(log_softmax(x, dim), dy, dim)) < kDifferenceError);
  }
}

TEST_CASE("softmax: huge logits stay finite, minus infinity gets probability 0, ties share") {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = from_values({2, 4}, {1e30, 1e30, -1e30, -infinity, 3, 3, 3, 3}, dtype);
    const std::vector<double> y = softmax(x, 1).to_vector();
    CHECK(y == std::vector<double>{0.5, 0.5, 0, 0, 0.25, 0.25, 0.25, 0.25});
    const std::vector<double> log_y = log_softmax(x, 1).to_vector();
    CHECK(log_y[0] == doctest::Approx(std::log(0.5)).epsilon(1e-6));
    CHECK(log_y[3] == -infinity);
  }
}

TEST_CASE("softmax: not-a-number in a row fills that row and no other") {
  std::vector<double> values(3 * 40, 0.5);
  values[40 + 37] = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> y = softmax(from_values({3, 40}, values), 1).to_vector();
  CHECK(std::isnan(y[40]));
  CHECK(y[0] == doctest::Approx(1.0 / 40));
  CHECK(y[80] == doctest::Approx(1.0 / 40));
}

TEST_CASE("softmax: a wrong dim is named together with the shape") {
  CHECK_THROWS_WITH_AS(softmax(ones({2, 3}), 2),
                       "[softmax] dim: expected -2..1 for shape (2, 3), got 2", ShapeError);
  CHECK_THROWS_WITH_AS(log_softmax_grad(ones({2, 3}), ones({3}), 1),
                       "[log_softmax_grad] dy (3): expected the shape of y (2, 3)", ShapeError);
}
