#include "autograd/gradcheck.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "autograd/arithmetic.h"
#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

/// x^2 with `factor` times its true gradient.
Variable square_with(const Variable& x, double factor) {
  const Tensor v = x.value();
  return Variable::from({"square_with"}, multiply(v, v), {x}, [v, factor](const Tensor& dy) {
    return Grads{multiply(multiply(dy, v), 2 * factor)};
  });
}
const Tensor kInput = from_values({2, 2}, {1, -2, 3, 0.5}, DType::f64);

TEST_CASE("gradcheck: accepts a right gradient and refuses one that is off by 1e-5 of itself") {
  CHECK(gradcheck([](const Variable& x) { return square_with(x, 1); }, kInput).ok);
  CHECK_FALSE(gradcheck([](const Variable& x) { return square_with(x, 1.00001); }, kInput).ok);
}

TEST_CASE("gradcheck: refuses a missing gradient and one that is not a number") {
  CHECK_FALSE(gradcheck([](const Variable& x) { return square_with(x, 0); }, kInput).ok);
  CHECK_FALSE(gradcheck([](const Variable& x) { return square(x.detach()); }, kInput).ok);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const GradReport report =
      gradcheck([nan](const Variable& x) { return square_with(x, nan); }, kInput);
  CHECK_FALSE(report.ok);
  CHECK(report.worst.find("nan") != std::string::npos);
}

TEST_CASE("gradcheck: refuses gradients that are swapped between elements or inputs") {
  using Values = std::vector<Variable>;
  const auto swapped = [](const Values& v) {
    return Variable::from({"swapped"}, subtract(v[0].value(), v[1].value()), {v[0], v[1]},
                          [](const Tensor& dy) {
                            return Grads{multiply(dy, -1), dy};
                          });
  };
  CHECK_FALSE(gradcheck(swapped, {kInput, kInput}).ok);
  const auto turned = [](const Variable& x) {
    return Variable::from({"turned"}, x.value(), {x},
                          [](const Tensor& dy) { return Grads{dy.transpose(0, 1).contiguous()}; });
  };
  CHECK_FALSE(gradcheck(turned, kInput).ok);
}

TEST_CASE("gradcheck: works in f64 only") {
  CHECK_THROWS_WITH_AS(gradcheck([](const Variable& x) { return x + 1; }, ones({2})),
                       "[gradcheck] input: expected f64, got f32 (2) on cpu", ShapeError);
}

}  // namespace
}  // namespace vtrain
