#include "compress/parts/gumbel.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "autograd/arithmetic.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

Tensor normal(const Shape& shape, int lane) {
  return Random(29, "", "gumbel_test").normal(shape, {}, lane, DType::f64);
}

TEST_CASE("gumbel: the higher score decides, noise shifts it, and a tie keeps") {
  const Variable yes(from_values({5}, {1, 0, 2, 3, -1})), no(from_values({5}, {0, 1, 2, 0, -1}));
  CHECK(gumbel_decision(yes, no, zeros({5}), 1).value().to_vector() == Values{1, 0, 1, 1, 1});
  const Tensor noise = from_values({5}, {-2, 1, 0, -2.5, -0.5});
  CHECK(gumbel_decision(yes, no, noise, 1).value().to_vector() == Values{0, 1, 1, 1, 0});
}

TEST_CASE("gumbel: tau changes no decision") {
  const Tensor yes = normal({100}, 0), no = normal({100}, 1);
  for (const Tensor& noise : {zeros({100}, DType::f64), normal({100}, 2)}) {
    const Tensor at_one = gumbel_decision(Variable(yes), Variable(no), noise, 1).value();
    for (const double tau : {0.01, 0.5, 3.0, 100.0}) {
      CHECK(gumbel_decision(Variable(yes), Variable(no), noise, tau).value().to_vector() ==
            at_one.to_vector());
    }
  }
}

TEST_CASE("gumbel: the gradient is that of sigmoid((yes - no + noise) / tau)") {
  const Tensor noise = normal({3, 4}, 2), dy = normal({3, 4}, 3);
  for (const double tau : {0.5, 1.0, 4.0}) {
    CAPTURE(tau);
    const Variable yes = Variable::leaf(normal({3, 4}, 0)), no = Variable::leaf(normal({3, 4}, 1));
    backward(gumbel_decision(yes, no, noise, tau), dy);
    const Variable soft_yes = Variable::leaf(yes.value().clone());
    const Variable soft_no = Variable::leaf(no.value().clone());
    backward(sigmoid((soft_yes - soft_no + Variable(noise)) / tau), dy);
    CHECK(yes.grad().to_vector() == soft_yes.grad().to_vector());
    CHECK(no.grad().to_vector() == soft_no.grad().to_vector());
    // dl0 = dy y (1 - y) / tau, dl1 = -dl0, by hand.
    const Values z0 = yes.value().to_vector(), z1 = no.value().to_vector(), g = noise.to_vector();
    const Values up = dy.to_vector(), got = yes.grad().to_vector(), other = no.grad().to_vector();
    for (size_t i = 0; i < got.size(); ++i) {
      const double y = 1 / (1 + std::exp(-(z0[i] - z1[i] + g[i]) / tau));
      CHECK(got[i] == doctest::Approx(up[i] * y * (1 - y) / tau).epsilon(1e-12));  // f64
      CHECK(other[i] == -got[i]);
    }
  }
}

TEST_CASE("gumbel: at a tie the gradient is 1 / (4 tau): temperature scales it by 1 / tau") {
  for (const double tau : {0.5, 1.0, 2.0}) {
    const Variable yes = Variable::leaf(zeros({1}));
    backward(gumbel_decision(yes, Variable(zeros({1})), zeros({1}), tau));
    CHECK(yes.grad().item() == 0.25 / tau);
  }
}

// Two Gumbel draws differ by a logistic one, so P(keep) = sigmoid(yes - no).
TEST_CASE("gumbel: with logistic noise a token is kept with the probability of its softmax") {
  const int64_t n = 40000;
  const Random random(31, "", "gumbel");
  for (const double margin : {-2.0, 0.0, 1.0}) {
    const Tensor noise = random.logistic({n, 1}, {});
    const Tensor kept =
        gumbel_decision(Variable(full({n, 1}, margin)), Variable(zeros({n, 1})), noise, 1).value();
    double share = 0;
    for (const double k : kept.to_vector()) share += k / static_cast<double>(n);
    const double p = 1 / (1 + std::exp(-margin));
    CHECK(std::abs(share - p) < 4 * std::sqrt(p * (1 - p) / static_cast<double>(n)));
  }
}

}  // namespace
}  // namespace vtrain
