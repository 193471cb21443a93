#include "autograd/tokens.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(19, "", "tokens_test").normal(shape, {}, lane, DType::f64);
}
Tensor indices(const Shape& shape, std::initializer_list<double> values) {
  return from_values(shape, values, DType::i32);
}
using Values = std::vector<Variable>;

TEST_CASE("gather_rows: agrees with PyTorch's gather, repeated rows included") {
  const Golden golden("tokens");
  for (const std::string name : {"gather", "gather_repeated"}) {
    check_golden(golden, name, {"x"}, [&](const Values& v) {
      return gather_rows(v[0], Variable(golden(name + ".index")));
    });
  }
}

TEST_CASE("gather_rows: gradient agrees with finite differences") {
  const Variable index(indices({2, 3}, {0, 2, 2, 1, 0, 3}));
  const GradReport report =
      gradcheck([&](const Variable& x) { return gather_rows(x, index); }, normal({2, 4, 3}));
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("gather_rows: an index outside, of another type or another batch is named") {
  const Variable x(zeros({2, 4, 3}));
  CHECK_THROWS_WITH_AS(gather_rows(x, Variable(indices({2, 1}, {0, 4}))),
                       "[gather_rows] index: expected entries in 0..3, got 4", ShapeError);
  CHECK_THROWS_WITH_AS(gather_rows(x, Variable(indices({2, 1}, {-1, 0}))),
                       "[gather_rows] index: expected entries in 0..3, got -1", ShapeError);
  CHECK_THROWS_WITH_AS(gather_rows(x, Variable(zeros({2, 1}))),
                       "[gather_rows] index: expected i32 (2, K), got f32 (2, 1) on cpu",
                       ShapeError);
  CHECK_THROWS_WITH_AS(gather_rows(Variable(zeros({2, 4})), Variable(indices({2, 1}, {0, 0}))),
                       "[gather_rows] x (2, 4): expected (N, L, C)", ShapeError);
}

TEST_CASE("select_top: gives the positions of the highest scores in ascending order") {
  const Variable y = select_top(Variable(from_values({2, 4}, {1, 4, 2, 3, -1, -4, -2, -3})), 2);
  CHECK(y.value().dtype() == DType::i32);
  CHECK(y.value().to_vector() == std::vector<double>{1, 3, 0, 2});
}

TEST_CASE("select_top: a tie keeps the lower position, -0 ties with 0, NaN ranks last") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto top = [&](std::initializer_list<double> scores, int64_t k) {
      const Shape shape{1, static_cast<int64_t>(scores.size())};
      return select_top(Variable(from_values(shape, scores, dtype)), k).value().to_vector();
    };
    CHECK(top({5, 5, 5, 5}, 2) == std::vector<double>{0, 1});
    CHECK(top({1, 5, 2, 5, 5}, 2) == std::vector<double>{1, 3});
    CHECK(top({-0.0, 0.0, 0.0}, 1) == std::vector<double>{0});
    CHECK(top({0.0, -0.0, -1}, 2) == std::vector<double>{0, 1});
    CHECK(top({nan, -inf, -1}, 2) == std::vector<double>{1, 2});
    CHECK(top({nan, -nan, 0}, 2) == std::vector<double>{0, 2});
    CHECK(top({inf, 3}, 1) == std::vector<double>{0});
    CHECK(top({2, 1, 3}, 3) == std::vector<double>{0, 1, 2});
  }
}

TEST_CASE("select_top: a count that cannot be kept is named") {
  const Variable score(zeros({2, 4}));
  CHECK_THROWS_WITH_AS(select_top(score, 0),
                       "[select_top] k: expected 1..4 for score (2, 4), got 0", ShapeError);
  CHECK_THROWS_WITH_AS(select_top(score, 5),
                       "[select_top] k: expected 1..4 for score (2, 4), got 5", ShapeError);
}

// A predictor whose score only chooses rows takes no gradient; the rows' own gradient must still
// arrive.
TEST_CASE("select_top: a score that needs a gradient gets none and stops nothing") {
  const Variable x = Variable::leaf(normal({1, 3, 2})), w = Variable::leaf(ones({2}, DType::f64));
  const Variable score = sum(x * w, {2});
  const Variable index = with_special(select_top(exp(score), 1), 1);
  backward(sum(gather_rows(x, index)));
  CHECK_FALSE(w.grad().defined());
  const std::vector<double> at = index.value().to_vector();
  std::vector<double> expected(6, 0);
  for (const double row : at) expected[2 * static_cast<size_t>(row)] += 1;
  for (size_t i = 0; i < 6; i += 2) expected[i + 1] = expected[i];
  CHECK(x.grad().to_vector() == expected);
}

TEST_CASE("with_special: puts the special tokens in front and shifts the rest") {
  const Variable index(indices({2, 2}, {0, 3, 1, 2}));
  CHECK(with_special(index, 2).value().to_vector() == std::vector<double>{0, 1, 2, 5, 0, 1, 3, 4});
  CHECK(with_special(index, 0).value().to_vector() == std::vector<double>{0, 3, 1, 2});
}

TEST_CASE("straight_through: the value is the hard one, the gradient the soft one's") {
  const Tensor hard = from_values({3}, {1, 0, 1}, DType::f64);
  const Variable x = Variable::leaf(from_values({3}, {-1, 0.5, 2}, DType::f64));
  const Variable y = straight_through(hard, sigmoid(x));
  CHECK(y.value().to_vector() == hard.to_vector());
  const Tensor dy = from_values({3}, {1, -2, 3}, DType::f64);
  backward(y, dy);
  const Variable soft = Variable::leaf(x.value().clone());
  backward(sigmoid(soft), dy);
  CHECK(x.grad().to_vector() == soft.grad().to_vector());
  CHECK_THROWS_WITH_AS(straight_through(zeros({2}), Variable(zeros({3}))),
                       "[straight_through] hard (2): expected the shape of soft (3)", ShapeError);
}

}  // namespace
}  // namespace vtrain
