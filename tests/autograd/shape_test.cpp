#include "autograd/shape.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(17, "", "shape_test").normal(shape, {}, lane, DType::f64);
}
using Values = std::vector<Variable>;

TEST_CASE("shape: concat, slice and select agree with PyTorch along every dim") {
  const Golden golden("shape");
  for (const int dim : {0, 1, 2}) {
    check_golden(golden, str("concat_", dim), {"a", "b"}, [dim](const Values& v) {
      return concat({v[0], v[1]}, dim);
    });
    check_golden(golden, str("concat_", dim), {"a", "b"}, [dim](const Values& v) {
      return concat({v[0], v[1]}, dim - 3);
    });
    check_golden(golden, str("slice_", dim), {"x"},
                 [dim](const Values& v) { return slice(v[0], dim, 1, 3); });
    check_golden(golden, str("select_", dim), {"x"},
                 [dim](const Values& v) { return select(v[0], dim, 2); });
    check_golden(golden, str("select_", dim), {"x"},
                 [dim](const Values& v) { return select(v[0], dim - 3, 2); });
  }
}

TEST_CASE("shape: reshape, transpose and expand agree with PyTorch") {
  const Golden golden("shape");
  check_golden(golden, "reshape", {"x"}, [](const Values& v) { return reshape(v[0], {4, -1}); });
  check_golden(golden, "transpose", {"x"}, [](const Values& v) { return transpose(v[0], 0, -1); });
  check_golden(golden, "reshape_of_transposed", {"x"}, [](const Values& v) {
    return reshape(transpose(v[0], 0, 1), {4, 15});
  });
  check_golden(golden, "expand", {"x"}, [](const Values& v) { return expand(v[0], {2, 3, 4}); });
}

TEST_CASE("shape: gradients agree with finite differences") {
  const auto check = [](const char* what, const auto& f, const std::vector<Tensor>& inputs) {
    CAPTURE(what);
    const GradReport report = gradcheck(f, inputs);
    CHECK_MESSAGE(report.ok, report.worst);
  };
  const Tensor x = normal({2, 3, 4});
  check("reshape", [](const Values& v) { return reshape(v[0], {-1, 2}); }, {x});
  check("to one axis", [](const Values& v) { return reshape(v[0], {24}); }, {x});
  check("of a transposed value",
        [](const Values& v) {
          return reshape(transpose(v[0], 0, 2), {6, 4});
        },
        {x});
  check("transpose", [](const Values& v) { return transpose(v[0], 1, 2); }, {x});
  check("slice first", [](const Values& v) { return slice(v[0], 0, 0, 1); }, {x});
  check("slice last", [](const Values& v) { return slice(v[0], -1, 3, 4); }, {x});
  check("slice all", [](const Values& v) { return slice(v[0], 1, 0, 3); }, {x});
  check("select first", [](const Values& v) { return select(v[0], 1, 0); }, {x});
  check("select last", [](const Values& v) { return select(v[0], -1, 3); }, {x});
  check("expand a new axis", [](const Values& v) { return expand(v[0], {2, 2, 3, 4}); }, {x});
  check("expand extents of 1",
        [](const Values& v) {
          return expand(v[0], {3, 2, 4});
        },
        {normal({1, 2, 1})});
  check("expand a number", [](const Values& v) { return expand(v[0], {2, 2}); }, {normal({})});
  for (const int dim : {0, 1, 2, -1}) {
    Shape other{2, 3, 4};
    other[static_cast<size_t>(dim < 0 ? dim + 3 : dim)] = 1;
    check("concat",
          [dim](const Values& v) {
            return concat({v[0], v[1], v[0]}, dim);
          },
          {x, normal(other, 1)});
  }
  check("concat of one", [](const Values& v) { return concat({v[0]}, 1); }, {x});
}

TEST_CASE("shape: a part of a concat that needs no gradient takes none from the others") {
  const Variable a = Variable::leaf(ones({1, 2})), b(ones({1, 3}));
  backward(concat({b, a}, 1), from_values({1, 5}, {1, 2, 3, 4, 5}));
  CHECK(a.grad().to_vector() == std::vector<double>{4, 5});
  CHECK_FALSE(b.grad().defined());
}

TEST_CASE("shape: what does not fit is named") {
  const Variable x(zeros({2, 3}));
  CHECK_THROWS_WITH_AS(reshape(x, {4}),
                       "[reshape] shape (4): expected 6 elements for x (2, 3), got 4", ShapeError);
  CHECK_THROWS_WITH_AS(
      slice(x, 1, 2, 4),
      "[slice] range: expected 0 <= begin <= end <= 3 along axis 1 of (2, 3), got 2..4",
      ShapeError);
  CHECK_THROWS_WITH_AS(select(x, 2, 0), "[select] dim: expected -2..1 for shape (2, 3), got 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS(expand(x, {2, 4}), "[add] b (2, 3): does not broadcast with a (2, 4)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(expand(x, {3}), "[expand] x (2, 3): does not broadcast to (3)", ShapeError);
  CHECK_THROWS_WITH_AS(concat({x, Variable(zeros({3, 3}))}, 1),
                       "[concat] part (3, 3): expected the shape of (2, 3) but along axis 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(concat({}, 0), "[concat] parts: expected at least one tensor", ShapeError);
}

}  // namespace
}  // namespace vtrain
