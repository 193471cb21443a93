#include "tensor/ops/rms_norm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tensor/parallel.h"
#include "tests/tensor/ops/levels.h"
#include "tests/tensor/ops/numeric.h"

namespace vtrain {
namespace {

using namespace vtrain::testing;  // NOLINT(google-build-using-namespace)

TEST_CASE("rms_norm: f32 and bf16 kernels agree with the plain f64 loops for any channel count") {
  for (const Shape& shape :
       {Shape{1, 1}, Shape{3, 7}, Shape{2, 3, 16}, Shape{131, 37}, Shape{300, 64}, Shape{5}}) {
    CAPTURE(shape_text(shape));
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const bool is_weighted : {false, true}) {
        const Tensor x = uniform(shape, -2, 2, "x", dtype), dy = uniform(shape, -1, 1, "dy", dtype),
                     weight = is_weighted ? uniform({shape.back()}, -1.5, 1.5, "weight", DType::f32)
                                          : Tensor();
        const auto wide = [](const Tensor& t) { return t.defined() ? t.to(DType::f64) : t; };
        const RmsNormOutput fast = rms_norm(x, weight, 1e-5),
                            exact = rms_norm(wide(x), wide(weight), 1e-5);
        CHECK(fast.y.dtype() == dtype);
        CHECK(fast.rrms.dtype() == DType::f32);
        // Values reach 4, and so many roundings of 6e-8 or 2^-9; a gradient has the factor rrms.
        const double tolerance = dtype == DType::f32 ? 2e-6 : 2e-2;
        CHECK(max_difference(fast.y.to(DType::f64), exact.y) < tolerance);
        CHECK(max_difference(fast.rrms.to(DType::f64), exact.rrms) < 1e-5);
        const RmsNormGrads grads = rms_norm_grad(x, weight, fast.rrms, dy),
                           reference = rms_norm_grad(wide(x), wide(weight), exact.rrms, wide(dy));
        CHECK(max_difference(grads.dx.to(DType::f64), reference.dx) <
              tolerance * std::max(1.0, max_size(exact.rrms)));
        CHECK(grads.dweight.dtype() == DType::f32);
        CHECK(max_difference(grads.dweight.to(DType::f64), reference.dweight) < 2e-5);
      }
    }
  }
}

TEST_CASE("rms_norm: the same at every instruction level that the machine has") {
  check_at_every_level("rms_norm: f32 and bf16 kernels*");
}

TEST_CASE("rms_norm: worked by hand") {
  // mean of 9 and 16 and 0 and 0 is 6.25: 1 / 2.5.
  const Tensor x = from_values({1, 4}, {3, -4, 0, 0}, DType::f64);
  const RmsNormOutput out = rms_norm(x, from_values({4}, {1, 2, 5, 5}, DType::f64), 0);
  CHECK(out.rrms.item() == doctest::Approx(0.4));
  CHECK(max_difference(out.y, from_values({1, 4}, {1.2, -3.2, 0, 0}, DType::f64)) < 1e-15);
}

TEST_CASE("rms_norm: dweight does not depend on the number of threads") {
  const int before = num_threads();
  const Tensor x = uniform({1000, 48}, -2, 2, "x", DType::f32),
               dy = uniform({1000, 48}, -1, 1, "dy", DType::f32);
  const Tensor rrms = rms_norm(x, {}, 1e-6).rrms;
  set_num_threads(1);
  const std::vector<double> one = rms_norm_grad(x, {}, rrms, dy).dweight.to_vector();
  for (const int threads : {2, 3, 5}) {
    set_num_threads(threads);
    CHECK(rms_norm_grad(x, {}, rrms, dy).dweight.to_vector() == one);
  }
  set_num_threads(before);
}

TEST_CASE("rms_norm: what does not fit is named") {
  CHECK_THROWS_WITH_AS(rms_norm(zeros({2, 3}), zeros({4}), 1e-6),
                       "[rms_norm] weight (4): expected (3), one per channel of x (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(rms_norm(zeros({0, 3}), {}, 1e-6),
                       "[rms_norm] x (0, 3): expected rows of at least one channel", ShapeError);
  CHECK_THROWS_AS(rms_norm(zeros({2, 3}, DType::bf16), zeros({3}, DType::bf16), 1e-6), ShapeError);
}

}  // namespace
}  // namespace vtrain
