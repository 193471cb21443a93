#include "compress/parts/soft_targets.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane) {
  return Random(11, "", "soft_targets").normal(shape, {}, lane, DType::f64);
}

/// (1 / (2 K N)) sum |c(a) - c(b)|^2, c without the row's mean: the loss where T has no bound.
double limit(const Tensor& a, const Tensor& b) {
  const auto rows = static_cast<size_t>(a.dim(0)), classes = static_cast<size_t>(a.dim(1));
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double sum = 0;
  for (size_t n = 0; n < rows; ++n) {
    double mean = 0;
    for (size_t k = 0; k < classes; ++k) mean += x[n * classes + k] - y[n * classes + k];
    mean /= static_cast<double>(classes);
    for (size_t k = 0; k < classes; ++k)
      sum += std::pow(x[n * classes + k] - y[n * classes + k] - mean, 2);
  }
  return sum / static_cast<double>(2 * rows * classes);
}

TEST_CASE(
    "soft_targets: at a high temperature the loss is half the mean squared distance of logits") {
  const Tensor teacher = normal({16, 10}, 0), student = normal({16, 10}, 1);
  const double loss =
      soft_target_loss(teacher, Variable(student), {.temperature = 1e4}).value().item();
  CHECK(loss == doctest::Approx(limit(teacher, student)).epsilon(1e-4));
  // In f32, where at T = 1000 cancellation would spoil it.
  const double f32 = soft_target_loss(teacher.to(DType::f32), Variable(student.to(DType::f32)),
                                      {.temperature = 100})
                         .value()
                         .item();
  CHECK(f32 == doctest::Approx(limit(teacher, student)).epsilon(5e-3 * 3));
}

TEST_CASE("soft_targets: the gradient agrees with finite differences, with and without T^2") {
  const Tensor teacher = normal({3, 5}, 2);
  for (const bool scales_t2 : {false, true}) {
    const GradReport report = gradcheck(
        [&](const Variable& s) {
          return soft_target_loss(teacher, s, {.temperature = 2.5, .scales_t2 = scales_t2});
        },
        normal({3, 5}, 3));
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("soft_targets: the loss of a batch is the mean over its images") {
  const Tensor teacher = normal({2, 4}, 4), student = normal({2, 4}, 5);
  const auto loss = [&](int64_t begin, int64_t end) {
    return soft_target_loss(teacher.slice(0, begin, end), Variable(student.slice(0, begin, end)),
                            {})
        .value()
        .item();
  };
  CHECK(loss(0, 2) == doctest::Approx((loss(0, 1) + loss(1, 2)) / 2));
}

TEST_CASE("soft_targets: a network is described by its model and its size") {
  Network network({.model = "resnet8_28", .options = {}, .parts = {}});
  CHECK(description_of(network) == str("resnet8_28, ", network.parameter_count(), " parameters"));
}

}  // namespace
}  // namespace vtrain
