#include "compress/parts/variational_noise.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

using doctest::Approx;

double kl_at(double log_alpha, double clip = 8, DType dtype = DType::f64) {
  return variational_kl(Variable(from_values({1}, {log_alpha}, dtype)), clip).value().item();
}

TEST_CASE("variational noise: log alpha is the noise's log variance less that of the weight") {
  const Variable theta(from_values({3}, {0.5, -2, 0}, DType::f64)),
      log_sigma2(from_values({3}, {-1, 3, -5}, DType::f64));
  const std::vector<double> a = log_alpha(theta, log_sigma2).value().to_vector();
  CHECK(a[0] == Approx(-1 + std::log(4)));
  CHECK(a[1] == Approx(3 - std::log(4)));
  CHECK(a[2] == Approx(-5 + 8 * std::log(10)));  // the floor
}

// Worked from the formula in double.
TEST_CASE("variational noise: the divergence of eight noise levels, in f64 and f32") {
  const std::pair<double, double> expected[] = {{-8, 4.635899}, {-4, 2.634208}, {-2, 1.540533},
                                                {0, 0.431239},  {1, 0.177970},  {2, 0.068417},
                                                {3, 0.025420},  {5, 0.003415},  {8, 0.000168}};
  for (const auto& each : expected) {
    const double a = each.first, kl = each.second;
    CAPTURE(a);
    CHECK(std::abs(kl_at(a) - kl) < 1e-6);
    CHECK(std::abs(kl_at(a, 8, DType::f32) - kl) < 2e-6);
  }
}

// KL(N(1, alpha) || 1/|w|), up to a constant that makes it 0 for alpha to infinity, is
// E log|e| - log alpha / 2 over e ~ N(1, alpha) with the same constant: the paper's figure 1.
TEST_CASE("variational noise: the approximation is near the integral") {
  const auto integral = [](double log_alpha) {
    const double sd = std::exp(log_alpha / 2), step = 1e-4;
    double mean_log = 0, mean_log_pure = 0;  // of |1 + sd z| and of |z|
    for (double z = -10 + step / 2; z < 10; z += step) {
      const double weight = std::exp(-z * z / 2) / std::sqrt(2 * M_PI) * step;
      mean_log += weight * std::log(std::abs(1 + sd * z));
      mean_log_pure += weight * std::log(std::abs(z));
    }
    return mean_log - log_alpha / 2 - mean_log_pure;
  };
  for (const double a : {-4.0, -2.0, 0.0, 1.0, 3.0, 5.0}) {
    CAPTURE(a);
    CHECK(std::abs(kl_at(a) - integral(a)) < 0.01);
  }
}

TEST_CASE("variational noise: weights are summed, and beyond the clip nothing changes") {
  const Variable a(from_values({2, 2}, {-2, 0, 0, 3}, DType::f64));
  CHECK(variational_kl(a, 8).value().item() ==
        Approx(1.540533 + 2 * 0.431239 + 0.025420).epsilon(1e-5));
  CHECK(kl_at(30) == kl_at(8));
  CHECK(kl_at(-30) == kl_at(-8));
  CHECK(kl_at(6, 5) == kl_at(5));
  Variable outside = Variable::leaf(from_values({3}, {-9, 9, 7}, DType::f64));
  backward(variational_kl(outside, 8));
  CHECK(outside.grad().to_vector()[0] == 0);
  CHECK(outside.grad().to_vector()[1] == 0);
  CHECK(outside.grad().to_vector()[2] < 0);
}

TEST_CASE("variational noise: gradients agree with finite differences") {
  const Random random(4, "", "x");
  const Tensor theta = random.normal({4, 5}, {}, 0, DType::f64),
               log_sigma2 = random.normal({4, 5}, {}, 1, DType::f64),
               noise = random.normal({4, 5}, {}, 2, DType::f64),
               variance = random.uniform({4, 5}, {}, 3, DType::f64);
  const GradReport kl = gradcheck(
      [](const std::vector<Variable>& x) { return variational_kl(log_alpha(x[0], x[1]), 20); },
      {theta, log_sigma2});
  CHECK_MESSAGE(kl.ok, kl.worst);
  const GradReport value =
      gradcheck([&](const std::vector<Variable>& x) { return with_noise(x[0], x[1], noise, 0.01); },
                {theta, variance});
  CHECK_MESSAGE(value.ok, value.worst);
}

TEST_CASE("variational noise: a variance of 0 gives the mean, and gradients stay finite") {
  Variable mean = Variable::leaf(from_values({2}, {1.5, -2})),
           variance = Variable::leaf(zeros({2}));
  const Variable y = with_noise(mean, variance, from_values({2}, {0.5, -3}), 0);
  CHECK(y.value().to_vector() == std::vector<double>{1.5, -2});
  backward(y, ones({2}));
  CHECK(mean.grad().to_vector() == std::vector<double>{1, 1});
  for (const double g : variance.grad().to_vector()) CHECK(std::isfinite(g));
  CHECK(with_noise(Variable(zeros({1})), Variable(zeros({1})), from_values({1}, {2}), 1e-4)
            .value()
            .item() == Approx(0.02));
}

}  // namespace
}  // namespace vtrain
