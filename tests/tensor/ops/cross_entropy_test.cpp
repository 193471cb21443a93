#include "tensor/ops/cross_entropy.h"

#include <doctest/doctest.h>

#include <limits>

#include "numeric.h"

using namespace vtrain;
using namespace vtrain::testing;

TEST_CASE("cross_entropy: f32 agrees with f64") {
  for (const int64_t classes : {1, 7, 10, 1000}) {
    CAPTURE(classes);
    const Tensor x = uniform({37, classes}, -9, 9, "x", DType::f32),
                 t = uniform({37, classes}, 0, 1, "t", DType::f32);
    const Tensor dloss = uniform({37}, -1, 1, "dloss", DType::f32);
    const CrossEntropy fast = cross_entropy(x, t),
                       exact = cross_entropy(x.to(DType::f64), t.to(DType::f64));
    // Sums are in double: only the result is rounded to f32.
    CHECK(max_difference(fast.loss, exact.loss) <= 6e-8 * max_size(exact.loss));
    CHECK(max_difference(fast.probabilities, exact.probabilities) < 6e-8);
    const Tensor exact_grad =
        cross_entropy_grad(exact.probabilities, t.to(DType::f64), dloss.to(DType::f64));
    CHECK(max_difference(cross_entropy_grad(fast.probabilities, t, dloss), exact_grad) <
          3e-7 * std::max(1.0, max_size(exact_grad)));
  }
}

TEST_CASE("cross_entropy: gradient agrees with central differences for targets of any sum") {
  const Tensor x = uniform({4, 6}, -2, 2, "x"), t = uniform({4, 6}, 0, 1, "t"),
               dloss = uniform({4}, -1, 1, "dloss");
  const Tensor grad = cross_entropy_grad(cross_entropy(x, t).probabilities, t, dloss);
  CHECK(gradient_error([&](const Tensor& at) { return dot(cross_entropy(at, t).loss, dloss); }, x,
                       grad) < kDifferenceError);
}

TEST_CASE(
    "cross_entropy: equal logits cost log K, and a class of target 0 may have logit minus "
    "infinity") {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor x = from_values({2, 3}, {5, 5, 5, 1, 1, -infinity}),
               t = from_values({2, 3}, {0, 1, 0, 0.5, 0.5, 0});
  const std::vector<double> loss = cross_entropy(x, t).loss.to_vector();
  CHECK(loss[0] == doctest::Approx(std::log(3.0)).epsilon(1e-7));
  CHECK(loss[1] == doctest::Approx(std::log(2.0)).epsilon(1e-7));
}

TEST_CASE("cross_entropy: huge logits stay finite") {
  const CrossEntropy result =
      cross_entropy(from_values({1, 2}, {1e30, 0}), from_values({1, 2}, {1, 0}));
  CHECK(result.loss.item() == 0);
  CHECK(result.probabilities.to_vector() == std::vector<double>{1, 0});
}

TEST_CASE("cross_entropy: wrong shapes are named") {
  CHECK_THROWS_WITH_AS(cross_entropy(zeros({2, 3}), zeros({2, 4})),
                       "[cross_entropy] targets (2, 4): expected the shape of logits (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(zeros({6}), zeros({6})),
                       "[cross_entropy] logits: expected (N, K), got (6)", ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy_grad(zeros({2, 3}), zeros({2, 3}), zeros({3})),
                       "[cross_entropy_grad] dloss: expected (2) for probabilities (2, 3), got (3)",
                       ShapeError);
}
