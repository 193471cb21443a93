#include "tensor/ops/local_response_norm.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)
using Options = LocalResponseNormOptions;

constexpr Options kCases[] = {{},
                              {.size = 5, .alpha = 2, .beta = 0.75, .k = 2},
                              {.size = 1, .alpha = 1, .beta = 0.75, .k = 1},
                              {.size = 4, .alpha = 3, .beta = 0.75, .k = 1},
                              {.size = 9, .alpha = 1, .beta = 1.5, .k = 0.5}};

TEST_CASE(
    "local_response_norm: f32 and bf16 kernels agree with the plain f64 loops for any channel "
    "count") {
  for (const Options& options : kCases) {
    CAPTURE(options.size);
    for (const int64_t channels : {1, 3, 16, 37, 64}) {
      CAPTURE(channels);
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const Shape shape{2, channels, 3, 5};
        const Tensor x = uniform(shape, -2, 2, "x", dtype).channels_last(),
                     dy = uniform(shape, -1, 1, "dy", dtype);
        const Tensor wide = x.to(DType::f64);
        const double tolerance = dtype == DType::f32 ? 5e-6 : 2e-2;
        CHECK(max_difference(local_response_norm(x, options).to(DType::f64),
                             local_response_norm(wide, options)) < tolerance);
        CHECK(max_difference(local_response_norm_grad(x, dy, options).to(DType::f64),
                             local_response_norm_grad(wide, dy.to(DType::f64), options)) <
              tolerance);
      }
    }
  }
}

TEST_CASE("local_response_norm: the same at every instruction level that the machine has") {
  check_at_every_level("local_response_norm: f32 and bf16 kernels*");
}

TEST_CASE("local_response_norm: worked by hand, with neighbours that do not exist at both ends") {
  // n = 3, alpha / n = 1, beta = 1: d = 1 + 1 + 4, 1 + 1 + 4 + 9, 1 + 4 + 9.
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = from_values({1, 3, 1, 1}, {1, 2, -3}, dtype);
    const Tensor y = local_response_norm(x, {.size = 3, .alpha = 3, .beta = 1, .k = 1});
    CHECK(max_difference(y, from_values({1, 3, 1, 1}, {1 / 6., 2 / 15., -3 / 14.}, dtype)) < 1e-7);
  }
}

TEST_CASE("local_response_norm: an image in any memory order is read by its logical index") {
  const Tensor x = uniform({2, 6, 4, 3}, -1, 1, "x", DType::f32);
  const std::vector<double> expected = local_response_norm(x, {}).to_vector();
  CHECK(local_response_norm(x.channels_last(), {}).to_vector() == expected);
  CHECK(local_response_norm(x.transpose(1, 3).contiguous().transpose(1, 3), {}).to_vector() ==
        expected);
}

TEST_CASE("local_response_norm: what does not fit is named") {
  CHECK_THROWS_WITH_AS(local_response_norm(zeros({2, 3}), {}),
                       "[local_response_norm] x (2, 3): expected (N, C, H, W)", ShapeError);
  CHECK_THROWS_WITH_AS(local_response_norm(zeros({0, 3, 2, 2}), {}),
                       "[local_response_norm] x (0, 3, 2, 2): the batch is empty", ShapeError);
  CHECK_THROWS_WITH_AS(local_response_norm(zeros({1, 3, 2, 2}), {.size = 0}),
                       "[local_response_norm] size: expected at least 1, got 0", ShapeError);
  CHECK_THROWS_WITH_AS(local_response_norm(zeros({1, 3, 2, 2}), {.k = 0}),
                       "[local_response_norm] k: expected above 0, got 0", ShapeError);
}

}  // namespace
}  // namespace vtrain
