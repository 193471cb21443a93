#include "autograd/normalize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(13, "", "normalize_test").normal(shape, {}, lane, DType::f64);
}
using Values = std::vector<Variable>;

TEST_CASE("layer_norm: agrees with PyTorch, also for a mean far from 0") {
  const Golden golden("normalize");
  check_golden(golden, "layer_norm", {"x", "weight", "bias"},
               [](const Values& v) { return layer_norm(v[0], v[1], v[2], 1e-6); });
  check_golden(golden, "layer_norm_plain", {"x"},
               [](const Values& v) { return layer_norm(v[0], {}, {}, 1e-5); });
}

// x has mean 30 and deviation 1, so its f32 rounding alone, 6e-8 * 30, is 2e-6 of a deviation, and
// the f64 one 1e-15 * 30: the tolerances of check_golden hold if, and only if, the row is centred
// before its variance is taken.
TEST_CASE("layer_norm: the variance is that of the centred row") {
  check_golden(Golden("normalize"), "layer_norm_shifted", {"x", "weight", "bias"},
               [](const Values& v) { return layer_norm(v[0], v[1], v[2], 1e-5); });
}

TEST_CASE("layer_norm: gradients agree with finite differences with and without weight and bias") {
  for (const Shape& x : {Shape{5}, Shape{3, 5}, Shape{2, 2, 5}, Shape{2, 17}}) {
    CAPTURE(shape_text(x));
    const Shape c{x.back()};
    const GradReport both =
        gradcheck([](const Values& v) { return layer_norm(v[0], v[1], v[2], 1e-5); },
                  {normal(x), normal(c, 1), normal(c, 2)});
    CHECK_MESSAGE(both.ok, both.worst);
    const GradReport weight =
        gradcheck([](const Values& v) { return layer_norm(v[0], v[1], {}, 1e-5); },
                  {normal(x), normal(c, 1)});
    CHECK_MESSAGE(weight.ok, weight.worst);
    const GradReport bias =
        gradcheck([](const Values& v) { return layer_norm(v[0], {}, v[1], 1e-5); },
                  {normal(x), normal(c, 1)});
    CHECK_MESSAGE(bias.ok, bias.worst);
    const GradReport bare =
        gradcheck([](const Variable& v) { return layer_norm(v, {}, {}, 1e-5); }, normal(x));
    CHECK_MESSAGE(bare.ok, bare.worst);
  }
}

TEST_CASE("layer_norm: a row of one channel, or of equal values, gives the bias") {
  const Variable w(full({1}, 3)), b(full({1}, 0.5));
  CHECK(layer_norm(Variable(from_values({2, 1}, {7, -9})), w, b, 1e-6).value().to_vector() ==
        std::vector<double>{0.5, 0.5});
  const Variable equal =
      layer_norm(Variable(full({1, 4}, 2)), Variable(ones({4})), Variable(full({4}, -1)), 1e-6);
  CHECK(equal.value().to_vector() == std::vector<double>(4, -1));
}

TEST_CASE("layer_norm: a strided input is read by its strides") {
  const GradReport report =
      gradcheck([](const Variable& v) { return layer_norm(transpose(v, 0, 1), {}, {}, 1e-5); },
                normal({4, 3}));
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("layer_norm: a weight of the wrong length is named") {
  CHECK_THROWS_WITH_AS(layer_norm(Variable(zeros({2, 3})), Variable(zeros({4})), {}, 1e-5),
                       "[layer_norm] weight (4): expected (3), one per channel of x (2, 3)",
                       ShapeError);
}

TEST_CASE("gelu: agrees with PyTorch and with finite differences") {
  check_golden(Golden("normalize"), "gelu", {"input"}, [](const Values& v) { return gelu(v[0]); });
  for (const Shape& x : {Shape{1}, Shape{3, 5}, Shape{2, 2, 9}}) {
    const GradReport report = gradcheck([](const Variable& v) { return gelu(v); }, normal(x));
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("gelu: far out it is 0 on the left and the identity on the right, with slopes 0 and 1") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Variable x = Variable::leaf(from_values({4}, {-40, 0, 40, 1e4}, dtype));
    const Variable y = gelu(x);
    backward(sum(y));
    CHECK(y.value().to_vector() == std::vector<double>{0, 0, 40, 1e4});
    // At 0 the f32 kernel's polynomial is off by 1.5 units in the last place.
    CHECK(relative_error(x.grad(), from_values({4}, {0, 0.5, 1, 1}, dtype)) <=
          (dtype == DType::f64 ? 0 : 2e-7));
  }
}

TEST_CASE("softmax and log_softmax: agree with PyTorch along every dim and for large logits") {
  const Golden golden("normalize");
  for (const int dim : {0, 1, 2}) {
    check_golden(golden, str("softmax_", dim), {"x"},
                 [dim](const Values& v) { return softmax(v[0], dim); });
    check_golden(golden, str("log_softmax_", dim), {"x"},
                 [dim](const Values& v) { return log_softmax(v[0], dim - 3); });
  }
  check_golden(golden, "softmax_large", {"x"}, [](const Values& v) { return softmax(v[0], 1); });
  check_golden(golden, "log_softmax_large", {"x"},
               [](const Values& v) { return log_softmax(v[0], -1); });
}

TEST_CASE("softmax and log_softmax: gradients agree with finite differences along every dim") {
  for (const Shape& x : {Shape{4}, Shape{3, 5}, Shape{2, 1, 3}, Shape{2, 3, 2, 2}}) {
    for (int dim = -static_cast<int>(x.size()); dim < static_cast<int>(x.size()); ++dim) {
      CAPTURE(shape_text(x));
      CAPTURE(dim);
      const GradReport plain =
          gradcheck([dim](const Variable& v) { return softmax(v, dim); }, normal(x));
      CHECK_MESSAGE(plain.ok, plain.worst);
      const GradReport logs =
          gradcheck([dim](const Variable& v) { return log_softmax(v, dim); }, normal(x));
      CHECK_MESSAGE(logs.ok, logs.worst);
    }
  }
}

TEST_CASE("softmax: a wrong dim is named together with the shape") {
  const Variable x(ones({2, 3}));
  CHECK_THROWS_WITH_AS(softmax(x, 2), "[softmax] dim: expected -2..1 for shape (2, 3), got 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS(log_softmax(x, -3),
                       "[log_softmax] dim: expected -2..1 for shape (2, 3), got -3", ShapeError);
}

TEST_CASE("cross_entropy: agrees with PyTorch for soft, hard and unnormalised targets") {
  const Golden golden("normalize");
  for (const char* const kind : {"soft", "hard", "unnormalised"}) {
    const std::string name = str("cross_entropy_", kind);
    check_golden(golden, name, {"logits"}, [&](const Values& v) {
      return cross_entropy(v[0], golden(name + ".targets").to(v[0].value().dtype()));
    });
  }
}

TEST_CASE("cross_entropy: gradient agrees with finite differences for any targets") {
  for (const Shape& x : {Shape{1, 1}, Shape{3, 5}, Shape{2, 10}}) {
    CAPTURE(shape_text(x));
    const Tensor targets = Random(13, "", "targets").uniform(x, {}, 0, DType::f64);
    const GradReport report =
        gradcheck([&](const Variable& v) { return cross_entropy(v, targets); }, normal(x));
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("cross_entropy: a class of target 0 adds nothing, even at logit minus infinity") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Variable logits = Variable::leaf(from_values({1, 3}, {-inf, 0, 0}, dtype));
    const Variable loss = cross_entropy(logits, from_values({1, 3}, {0, 1, 0}, dtype));
    backward(sum(loss));
    CHECK(loss.value().item() == doctest::Approx(std::log(2)).epsilon(1e-7));  // f32
    CHECK(logits.grad().to_vector() == std::vector<double>{0, -0.5, 0.5});
  }
}

TEST_CASE("cross_entropy: uniform logits cost log K whatever the targets") {
  const Variable logits(full({2, 8}, 3, DType::f64));
  const Tensor targets = from_values(
      {2, 8}, {1, 0, 0, 0, 0, 0, 0, 0, .125, .125, .125, .125, .125, .125, .125, .125}, DType::f64);
  for (const double loss : cross_entropy(logits, targets).value().to_vector()) {
    CHECK(loss == doctest::Approx(std::log(8)).epsilon(1e-14));
  }
}

TEST_CASE("cross_entropy: targets of another shape are named") {
  CHECK_THROWS_WITH_AS(cross_entropy(Variable(zeros({2, 3})), zeros({2, 4})),
                       "[cross_entropy] targets (2, 4): expected the shape of logits (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(cross_entropy(Variable(zeros({3})), zeros({3})),
                       "[cross_entropy] logits: expected (N, K), got (3)", ShapeError);
}

}  // namespace
}  // namespace vtrain
