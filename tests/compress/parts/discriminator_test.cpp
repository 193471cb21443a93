#include "compress/parts/discriminator.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "compress/parts/helper_adam.h"
#include "nn/optim/optimizer.h"

namespace vtrain {
namespace {

using doctest::Approx;

double softplus(double x) { return std::log1p(std::exp(x)); }
double plain_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Pass training() {
  Pass pass;
  pass.is_training = pass.wants_grad = true;
  return pass;
}

Tensor noise(const Shape& shape, int64_t step, int lane = 0, DType dtype = DType::f32) {
  return Random(3, "", "discriminator").normal(shape, {.step = step}, lane, dtype);
}

TEST_CASE("discriminator: it is linear layers with a leaky ReLU between, in plain loops") {
  Discriminator d(3, {4, 2});
  d.set_path("d");
  d.initialise(1);
  const Tensor h = noise({5, 3}, 0);
  const std::vector<double> logits = d(Variable(h), training()).value().to_vector();
  for (size_t n = 0; n < 5; ++n) {
    std::vector<double> x = h.select(0, static_cast<int64_t>(n)).to_vector();
    for (size_t layer = 0; layer < 3; ++layer) {
      const std::vector<double> w = d.parameters()[2 * layer].value().to_vector(),
                                b = d.parameters()[2 * layer + 1].value().to_vector();
      std::vector<double> y = b;
      for (size_t o = 0; o < y.size(); ++o) {
        for (size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
        if (layer < 2 && y[o] < 0) y[o] *= 0.2;
      }
      x = y;
    }
    CHECK(logits[n] == Approx(x[0]).epsilon(1e-5));
  }
}

TEST_CASE("discriminator: its size is that of its hidden layers") {
  const auto count = [](const std::vector<int64_t>& hidden) {
    int64_t n = 0;
    for (const Parameter& p : Discriminator(64, hidden).parameters()) n += p.value().numel();
    return n;
  };
  CHECK(count({128, 64}) == 64 * 128 + 128 + 128 * 64 + 64 + 64 + 1);
  CHECK(count({8}) == 64 * 8 + 8 + 8 + 1);
  CHECK(count({}) == 65);
}

TEST_CASE("discriminator: one that decides nothing costs 2 log 2, and log 2 the student") {
  const Tensor zero = zeros({4, 1});
  CHECK(discriminator_loss(zero, zero).value().item() == Approx(1.3862944));
  CHECK(deception_loss(zero, AdversarialForm::kNonSaturating).value().item() == Approx(0.6931472));
  CHECK(deception_loss(zero, AdversarialForm::kMinimax).value().item() == Approx(-0.6931472));
}

TEST_CASE("discriminator: where both give the same logits the loss is at least 2 log 2") {
  const Tensor logits = noise({6, 1}, 1);
  CHECK(discriminator_loss(logits, logits).value().item() > 2 * std::log(2.0));
}

TEST_CASE("discriminator: losses are means of softplus, also of large logits") {
  const std::vector<double> a{-2, 0.5, 3}, b{1, -4, 0.25};
  double of_a = 0, of_b = 0, deceived = 0;
  for (size_t i = 0; i < 3; ++i) {
    of_a += softplus(-a[i]) / 3;
    of_b += softplus(b[i]) / 3;
    deceived += softplus(-b[i]) / 3;
  }
  const Tensor ta = from_values({3, 1}, a), tb = from_values({3, 1}, b);
  CHECK(discriminator_loss(ta, tb).value().item() == Approx(of_a + of_b).epsilon(1e-6));
  CHECK(deception_loss(tb, AdversarialForm::kNonSaturating).value().item() ==
        Approx(deceived).epsilon(1e-6));
  CHECK(deception_loss(tb, AdversarialForm::kMinimax).value().item() ==
        Approx(-of_b).epsilon(1e-6));
  const Tensor sure = from_values({2, 1}, {200, -300});
  CHECK(deception_loss(sure, AdversarialForm::kNonSaturating).value().item() == Approx(150));
  CHECK(deception_loss(sure, AdversarialForm::kMinimax).value().item() == Approx(-100));
}

/// d loss / d logit of one image.
double gradient(double logit, AdversarialForm form) {
  const Variable leaf = Variable::leaf(from_values({1, 1}, {logit}, DType::f64));
  backward(deception_loss(leaf, form));
  return leaf.grad().item();
}

TEST_CASE("discriminator: both forms pull the same way, the minimax one weakly where D is sure") {
  for (const double logit : {-5.0, -0.3, 0.0, 2.0}) {
    CAPTURE(logit);
    CHECK(gradient(logit, AdversarialForm::kNonSaturating) == Approx(-plain_sigmoid(-logit)));
    CHECK(gradient(logit, AdversarialForm::kMinimax) == Approx(-plain_sigmoid(logit)));
  }
  CHECK(gradient(-5, AdversarialForm::kNonSaturating) / gradient(-5, AdversarialForm::kMinimax) ==
        Approx(148.413).epsilon(1e-4));
}

TEST_CASE(
    "discriminator: the student's gradient agrees with finite differences through a fixed D") {
  Discriminator d(3, {4, 2});
  d.set_path("d");
  d.initialise(2);
  for (Parameter p : d.parameters()) p.replace(p.value().to(DType::f64));
  for (const AdversarialForm form : {AdversarialForm::kNonSaturating, AdversarialForm::kMinimax}) {
    const GradReport report = gradcheck(
        [&](const Variable& h) {
          return deception_loss(d(h, loss_pass(training(), HelperWeights::kConstant)), form);
        },
        noise({4, 3}, 2, 0, DType::f64));
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("discriminator: constant weights let gradients through and keep none") {
  Discriminator d(2, {3});
  d.set_path("d");
  d.initialise(3);
  Pass pass = training();
  pass.dtype = DType::bf16;  // losses are computed in f32 all the same
  const auto run = [&](HelperWeights weights) {
    Variable h = Variable::leaf(noise({4, 2}, 3));
    for (const Parameter& p : d.parameters()) p.clear_grad();
    const Variable logits = d(h, loss_pass(pass, weights));
    CHECK(logits.value().dtype() == DType::f32);
    backward(deception_loss(logits, AdversarialForm::kNonSaturating));
    CHECK(h.grad().defined());
    return d.parameters().front().grad().defined();
  };
  CHECK(run(HelperWeights::kTrained));
  CHECK(!run(HelperWeights::kConstant));
  CHECK(run(HelperWeights::kTrained));
}

TEST_CASE("discriminator: accuracy weighs both sides the same") {
  const Tensor teacher = from_values({4, 1}, {1, 2, -1, 3}), student = from_values({2, 1}, {-1, 2});
  CHECK(discriminator_accuracy(teacher, student) == Approx((0.75 + 0.5) / 2));
  CHECK(discriminator_accuracy(ones({3, 1}), full({5, 1}, -1)) == 1);
  CHECK(discriminator_accuracy(zeros({3, 1}), zeros({3, 1})) == 0.5);
}

TEST_CASE("discriminator: a student of one number goes where its teacher's numbers are") {
  // Teacher N(2, 1), student theta + N(0, 1), both moved at once.
  Discriminator d(1, {16});
  d.set_path("d");
  d.initialise(4);
  Parameter theta({1}, Init::zeros());
  theta.set_path("theta");
  HelperAdam adam(d.parameters(), {.lr = 0.01});
  const auto optimizer =
      read_optimizer(Recipe::from_text("{name: sgd, lr: 0.05, momentum: 0, weight_decay: 0}"))
          .optimizer;
  double farthest = 0;
  for (int64_t step = 0; step < 500; ++step) {
    const Pass pass = training();
    for (const Parameter& p : d.parameters()) p.clear_grad();
    theta.clear_grad();
    const Variable h_t = Variable(noise({128, 1}, step, 0)) + 2.0,
                   h_s = Variable(noise({128, 1}, step, 1)) + theta.raw(pass);
    const Pass trained = loss_pass(pass, HelperWeights::kTrained);
    backward(discriminator_loss(d(h_t, trained), d(h_s.detach(), trained)) +
             deception_loss(d(h_s, loss_pass(pass, HelperWeights::kConstant)),
                            AdversarialForm::kNonSaturating));
    adam.step();
    optimizer->step({{.name = "theta", .parameters = {theta}}}, 0.05, 1);
    if (step >= 300) farthest = std::max(farthest, std::abs(theta.value().item() - 2));
  }
  CHECK(farthest < 0.3);
}

}  // namespace
}  // namespace vtrain
