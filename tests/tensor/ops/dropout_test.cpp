#include "tensor/ops/dropout.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)

TEST_CASE("dropout: f32 and bf16 kernels agree with the plain f64 loops for any count") {
  for (const int64_t n : {1, 7, 16, 37, 40003}) {
    CAPTURE(n);
    const Tensor noise = uniform({n}, 0, 1, "noise", DType::f32);
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor x = uniform({n}, -2, 2, "x", dtype), dy = uniform({n}, -2, 2, "dy", dtype);
      const DropoutOutput fast = dropout(x, noise, 0.3),
                          exact = dropout(x.to(DType::f64), noise, 0.3);
      CHECK(fast.kept.to_vector() == exact.kept.to_vector());
      // Values reach 2 / 0.7 and carry 8 bits, or 24.
      const double tolerance = dtype == DType::bf16 ? 1e-2 : 5e-7;
      CHECK(max_difference(fast.y.to(DType::f64), exact.y) < tolerance);
      CHECK(max_difference(dropout_grad(dy, fast.kept, 0.3).to(DType::f64),
                           dropout_grad(dy.to(DType::f64), exact.kept, 0.3)) < tolerance);
    }
  }
}

TEST_CASE("dropout: the same at every instruction level that the machine has") {
  check_at_every_level("dropout: f32 and bf16 kernels*");
}

TEST_CASE("dropout: noise at the rate keeps, below it drops, and a dropped NaN is 0") {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = from_values({4}, {3, -5, 1, 0.0 / 0.0}, dtype);
    const DropoutOutput out = dropout(x, from_values({4}, {0.25, 0.249, 0.9, 0.1}), 0.25);
    CHECK(out.kept.to_vector() == std::vector<double>{1, 0, 1, 0});
    const std::vector<double> y = out.y.to_vector();
    CHECK(y[0] == 4);
    CHECK(y[1] == 0);
    CHECK(y[2] == doctest::Approx(4 / 3.0).epsilon(0.004));
    CHECK(y[3] == 0);
  }
}

TEST_CASE("dropout: noise belongs to the logical element, in whatever order memory runs") {
  const Tensor x = uniform({2, 5, 4, 3}, -2, 2, "x", DType::f32),
               noise = uniform({2, 5, 4, 3}, 0, 1, "noise", DType::f32);
  const std::vector<double> expected = dropout(x, noise, 0.5).y.to_vector();
  const DropoutOutput last = dropout(x.channels_last(), noise, 0.5);
  CHECK(last.y.is_channels_last());
  CHECK(last.y.to_vector() == expected);
  CHECK(dropout(x.transpose(1, 3).contiguous().transpose(1, 3), noise, 0.5).y.to_vector() ==
        expected);
  CHECK(dropout_grad(x, last.kept, 0.5).to_vector() == expected);
  CHECK(dropout_grad(x.transpose(1, 3).contiguous().transpose(1, 3), last.kept, 0.5).to_vector() ==
        expected);
}

TEST_CASE("dropout: wrong arguments are named") {
  CHECK_THROWS_WITH_AS(dropout(zeros({2, 3}), zeros({3, 2}), 0.5),
                       "[dropout] noise (3, 2): expected the shape of x (2, 3)", ShapeError);
  CHECK_THROWS_WITH_AS(dropout(zeros({2}), zeros({2}), 1),
                       "[dropout] rate: expected 0 <= rate < 1, got 1", ShapeError);
  CHECK_THROWS_WITH_AS(dropout(zeros({2}, DType::f64), zeros({2}, DType::f64), 0.5),
                       "[dropout] noise: expected f32, got f64 (2) on cpu", ShapeError);
}

}  // namespace
}  // namespace vtrain
