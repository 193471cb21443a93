#include "autograd/losses.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(48, "", "losses_test").normal(shape, {}, lane, DType::f64);
}

TEST_CASE("losses: agree with PyTorch") {
  const Golden golden("losses");
  for (const double smoothing : {0.0, 0.1}) {
    const std::string name = smoothing == 0 ? "labels_0" : "labels_0.1";
    check_golden(golden, name, {"logits"}, [&](const Values& v) {
      return label_cross_entropy(v[0], golden(name + ".labels"), smoothing);
    });
  }
  for (const double temperature : {1.0, 4.0}) {
    const std::string name = temperature == 1 ? "kl_1" : "kl_4";
    check_golden(golden, name, {"student"}, [&](const Values& v) {
      return kl_divergence(golden(name + ".teacher").to(v[0].value().dtype()), v[0], temperature);
    });
  }
  check_golden(golden, "mse", {"a", "b"},
               [](const Values& v) { return mean_squared_error(v[0], v[1]); });
  check_golden(golden, "cosine_0", {"a", "b"},
               [](const Values& v) { return cosine_similarity(v[0], v[1], 0); });
  check_golden(golden, "cosine_2", {"a", "b"},
               [](const Values& v) { return cosine_similarity(v[0], v[1], -1); });
}

TEST_CASE("losses: gradients agree with finite differences") {
  const auto check = [](const GradReport& report) { CHECK_MESSAGE(report.ok, report.worst); };
  const Tensor labels = from_values({3}, {1, 0, 3}, DType::i32), teacher = normal({3, 4}, 1);
  check(gradcheck([&](const Variable& v) { return label_cross_entropy(v, labels, 0.2); },
                  normal({3, 4})));
  check(
      gradcheck([&](const Variable& v) { return kl_divergence(teacher, v, 2.5); }, normal({3, 4})));
  check(gradcheck([](const Values& v) { return mean_squared_error(v[0], v[1]); },
                  {normal({2, 3}), normal({2, 3}, 1)}));
  check(gradcheck([](const Values& v) { return cosine_similarity(v[0], v[1], 1); },
                  {normal({2, 3}), normal({2, 3}, 1)}));
}

TEST_CASE("losses: identities") {
  const Tensor logits = normal({4, 6}).to(DType::f32);
  // KL(p || p) = 0, and of a nearly equal pair about half the variance of the difference: no
  // cancellation of two entropies.
  CHECK(kl_divergence(logits, Variable(logits), 3).value().to_vector() ==
        std::vector<double>(4, 0));
  for (const double v : kl_divergence(logits, Variable(logits) * 1.01).value().to_vector()) {
    CHECK(v > 0);
    CHECK(v < 1e-3);
  }
  const Tensor targets = smoothed_targets(from_values({2}, {2, 0}, DType::i32), 4, 0.2);
  CHECK(relative_error(targets, from_values({2, 4}, {.05, .05, .85, .05, .85, .05, .05, .05})) <
        1e-7);
  const Variable a(normal({3, 5}));
  CHECK(relative_error(cosine_similarity(a, a * 7.0, 1).value(), ones({3}, DType::f64)) < 1e-14);
  CHECK(relative_error(cosine_similarity(a, a * -2.0, 1).value(), full({3}, -1, DType::f64)) <
        1e-14);
}

TEST_CASE("cosine_similarity: a vector of zeros has similarity 0 and a finite gradient") {
  const Variable zero = Variable::leaf(zeros({1, 3})), b = Variable::leaf(full({1, 3}, 2));
  const Variable y = cosine_similarity(zero, b, 1);
  CHECK(y.value().item() == 0);
  backward(sum(y));
  CHECK(b.grad().to_vector() == std::vector<double>{0, 0, 0});
  for (const double g : zero.grad().to_vector()) CHECK(g < 1e9);
}

TEST_CASE("losses: what does not fit is named") {
  const Variable logits(zeros({2, 3}));
  CHECK_THROWS_WITH_AS(
      label_cross_entropy(logits, zeros({3}, DType::i32)),
      "[label_cross_entropy] labels (3): expected (N) for logits (N, K), got (2, 3)", ShapeError);
  CHECK_THROWS_AS(label_cross_entropy(logits, from_values({2}, {0, 3}, DType::i32)), ShapeError);
  CHECK_THROWS_WITH_AS(smoothed_targets(zeros({2}, DType::i32), 3, 1),
                       "[smoothed_targets] smoothing: expected 0 <= smoothing < 1, got 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(kl_divergence(zeros({2, 3}), logits, 0),
                       "[kl_divergence] temperature: expected above 0, got 0", ShapeError);
  CHECK_THROWS_WITH_AS(mean_squared_error(logits, Variable(zeros({3, 2}))),
                       "[mean_squared_error] b (3, 2): expected the shape of a (2, 3)", ShapeError);
}

}  // namespace
}  // namespace vtrain
