#include "autograd/arithmetic.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

/// Values in (low, high), f64.
Tensor uniform(const Shape& shape, double low, double high, int lane = 0) {
  Tensor x = Random(7, "", "arithmetic_test").uniform(shape, {}, lane, DType::f64);
  double* const p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) p[i] = low + (high - low) * p[i];
  return x;
}

using Binary = std::function<Variable(const Variable&, const Variable&)>;
const std::map<std::string, Binary> kBinary{
    {"add", [](const Variable& a, const Variable& b) { return a + b; }},
    {"subtract", [](const Variable& a, const Variable& b) { return a - b; }},
    {"multiply", [](const Variable& a, const Variable& b) { return a * b; }},
    {"divide", [](const Variable& a, const Variable& b) { return a / b; }}};

using Unary = std::function<Variable(const Variable&)>;
const std::map<std::string, Unary> kUnary{{"exp", [](const Variable& x) { return exp(x); }},
                                          {"log", [](const Variable& x) { return log(x); }},
                                          {"sqrt", [](const Variable& x) { return sqrt(x); }},
                                          {"square", [](const Variable& x) { return square(x); }},
                                          {"sigmoid", [](const Variable& x) { return sigmoid(x); }},
                                          {"relu", [](const Variable& x) { return relu(x); }}};

struct Dims {
  std::string name;
  std::vector<int> dims;
};
const std::vector<Dims> kDims{
    {"all", {}}, {"first", {0}}, {"middle", {1}}, {"last", {-1}}, {"ends", {2, 0}}};

TEST_CASE("arithmetic: + - * / agree with PyTorch for every kind of broadcasting") {
  const Golden golden("arithmetic");
  for (const auto& [name, f] : kBinary) {
    for (const char* const kind : {"same", "row", "both", "scalar"}) {
      check_golden(golden, name + '_' + kind, {"a", "b"},
                   [&f = f](const std::vector<Variable>& v) { return f(v[0], v[1]); });
    }
  }
}

TEST_CASE("arithmetic: element-wise functions agree with PyTorch") {
  const Golden golden("arithmetic");
  for (const auto& [name, f] : kUnary) {
    check_golden(golden, name, {"input"},
                 [&f = f](const std::vector<Variable>& v) { return f(v[0]); });
  }
}

TEST_CASE("arithmetic: sum and mean agree with PyTorch over all, one and several dims") {
  const Golden golden("arithmetic");
  for (const auto& [name, dims] : kDims) {
    for (const bool keep : {false, true}) {
      const std::string suffix = keep ? name + "_kept" : name;
      check_golden(golden, "sum_" + suffix, {"x"},
                   [&, &d = dims](const std::vector<Variable>& v) { return sum(v[0], d, keep); });
      check_golden(golden, "mean_" + suffix, {"x"},
                   [&, &d = dims](const std::vector<Variable>& v) { return mean(v[0], d, keep); });
    }
  }
}

TEST_CASE("arithmetic: gradients of + - * / agree with finite differences under broadcasting") {
  const std::vector<std::pair<Shape, Shape>> kinds{
      {{2, 3}, {2, 3}},    {{2, 3}, {3}}, {{3}, {2, 3}},         {{2, 3}, {2, 1}},
      {{2, 1, 3}, {4, 1}}, {{2, 3}, {}},  {{}, {2, 3}},          {{1, 3}, {2, 1}},
      {{1}, {1}},          {{}, {}},      {{2, 2, 3}, {1, 2, 1}}};
  for (const auto& [name, f] : kBinary) {
    for (const auto& [a, b] : kinds) {
      CAPTURE(name);
      CAPTURE(shape_text(a));
      CAPTURE(shape_text(b));
      const GradReport report =
          gradcheck([&f = f](const std::vector<Variable>& v) { return f(v[0], v[1]); },
                    {uniform(a, -2, 2), uniform(b, 0.5, 2, 1)});
      CHECK_MESSAGE(report.ok, report.worst);
    }
  }
}

TEST_CASE("arithmetic: one constant side leaves the other side's gradient right") {
  const Variable c(uniform({2, 3}, 0.5, 2, 3));
  for (const auto& [name, f] : kBinary) {
    CAPTURE(name);
    const GradReport left =
        gradcheck([&, &f = f](const Variable& x) { return f(x, c); }, uniform({3}, 0.5, 2));
    CHECK_MESSAGE(left.ok, left.worst);
    const GradReport right =
        gradcheck([&, &f = f](const Variable& x) { return f(c, x); }, uniform({3}, 0.5, 2));
    CHECK_MESSAGE(right.ok, right.worst);
  }
}

TEST_CASE("arithmetic: a value on both sides gets the sum of both gradients") {
  for (const auto& [name, f] : kBinary) {
    CAPTURE(name);
    const GradReport report =
        gradcheck([&f = f](const Variable& x) { return f(x, x); }, uniform({2, 3}, 0.5, 2));
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("arithmetic: gradients with numbers agree with finite differences") {
  const std::map<std::string, Unary> forms{{"x + 3", [](const Variable& x) { return x + 3; }},
                                           {"x - 3", [](const Variable& x) { return x - 3; }},
                                           {"x * 3", [](const Variable& x) { return x * 3; }},
                                           {"3 * x", [](const Variable& x) { return 3 * x; }},
                                           {"x / 3", [](const Variable& x) { return x / 3; }},
                                           {"-x", [](const Variable& x) { return -x; }}};
  for (const auto& [name, f] : forms) {
    CAPTURE(name);
    const GradReport report = gradcheck(f, uniform({2, 3}, -2, 2));
    CHECK_MESSAGE(report.ok, report.worst);
  }
  const Variable x(from_values({1}, {1.5}));
  CHECK((x + 3).value().item() == 4.5);
  CHECK((x - 3).value().item() == -1.5);
  CHECK((x * 3).value().item() == 4.5);
  CHECK((3 * x).value().item() == 4.5);
  CHECK((x / 2).value().item() == 0.75);
  CHECK((-x).value().item() == -1.5);
}

TEST_CASE("arithmetic: gradients of element-wise functions agree with finite differences") {
  for (const auto& [name, f] : kUnary) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 5}, Shape{2, 3, 2}}) {
      CAPTURE(name);
      CAPTURE(shape_text(shape));
      const GradReport report = gradcheck(f, uniform(shape, 0.3, 2.5));
      CHECK_MESSAGE(report.ok, report.worst);
    }
    if (name == "log" || name == "sqrt") continue;  // not defined there
    const GradReport negative = gradcheck(f, uniform({3, 5}, -2.5, -0.3));
    CHECK_MESSAGE(negative.ok, negative.worst);
  }
}

TEST_CASE("arithmetic: relu's gradient is 0 at 0 and 1 at the smallest positive number") {
  const double tiny = std::numeric_limits<float>::denorm_min();
  const Variable x = Variable::leaf(from_values({4}, {-1, 0, tiny, 2}));
  backward(sum(relu(x)));
  CHECK(x.grad().to_vector() == std::vector<double>{0, 0, 1, 1});
}

TEST_CASE("arithmetic: sigmoid is finite and right in both tails") {
  const Variable x = Variable::leaf(from_values({4}, {-800, -30, 30, 800}, DType::f64));
  const Variable y = sigmoid(x);
  backward(sum(y));
  const std::vector<double> v = y.value().to_vector(), g = x.grad().to_vector();
  CHECK(v[0] == 0);
  CHECK(v[1] == doctest::Approx(std::exp(-30)).epsilon(1e-12));  // 1 / (1 + e^30), e^-60 smaller
  CHECK(v[3] == 1);
  for (const double slope : g) CHECK(std::isfinite(slope));
}

TEST_CASE("arithmetic: gradients of sum and mean agree with finite differences") {
  for (const auto& [name, dims] : kDims) {
    for (const bool keep : {false, true}) {
      CAPTURE(name);
      CAPTURE(keep);
      const GradReport of_sum = gradcheck(
          [&, &d = dims](const Variable& x) { return sum(x, d, keep); }, uniform({2, 3, 4}, -2, 2));
      CHECK_MESSAGE(of_sum.ok, of_sum.worst);
      const GradReport of_mean =
          gradcheck([&, &d = dims](const Variable& x) { return mean(x, d, keep); },
                    uniform({2, 3, 4}, -2, 2));
      CHECK_MESSAGE(of_mean.ok, of_mean.worst);
    }
  }
}

TEST_CASE("arithmetic: shapes that do not broadcast are refused with both shapes") {
  const Variable a(zeros({2, 3})), b(zeros({2, 4}));
  CHECK_THROWS_WITH_AS(a + b, "[add] b (2, 4): does not broadcast with a (2, 3)", ShapeError);
  CHECK_THROWS_WITH_AS(a / b, "[divide] b (2, 4): does not broadcast with a (2, 3)", ShapeError);
  CHECK_THROWS_WITH_AS(a * Variable(zeros({3}, DType::f64)),
                       "[multiply] b: expected f32 like a, got f64 (3) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(sum(a, {2}), "[sum] dim: expected -2..1 for shape (2, 3), got 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS(sum(a, {0, -2}), "[sum] dims: one is named twice", ShapeError);
}

}  // namespace
}  // namespace vtrain
