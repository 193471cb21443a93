#include "autograd/group_norm.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "nn/layers/group_norm.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(49, "", "group_norm_test").normal(shape, {}, lane, DType::f64);
}

TEST_CASE("group_norm: agrees with PyTorch for one group, several, and one per channel") {
  const Golden golden("group_norm");
  for (const int64_t groups : {1, 3, 6}) {
    check_golden(golden, str("groups_", groups), {"x", "weight", "bias"},
                 [&](const Values& v) { return group_norm(v[0], groups, v[1], v[2], 1e-5); });
  }
  check_golden(golden, "plain", {"x"},
               [](const Values& v) { return group_norm(v[0], 2, {}, {}, 1e-3); });
}

TEST_CASE("group_norm: gradients agree with finite differences") {
  for (const Shape& shape : {Shape{2, 4, 3, 1}, Shape{1, 2, 5}, Shape{3, 4}}) {
    CAPTURE(shape_text(shape));
    const Tensor w = normal({shape[1]}, 1), b = normal({shape[1]}, 2);
    const GradReport full =
        gradcheck([](const Values& v) { return group_norm(v[0], 2, v[1], v[2], 0.1); },
                  {normal(shape), w, b});
    CHECK_MESSAGE(full.ok, full.worst);
    const GradReport bare =
        gradcheck([](const Variable& v) { return group_norm(v, 1, {}, {}, 0.1); }, normal(shape));
    CHECK_MESSAGE(bare.ok, bare.worst);
  }
}

TEST_CASE("group_norm: one group is layer normalisation of the sample, in any memory order") {
  const Tensor x = normal({2, 6, 3, 4});
  const Variable expected =
      reshape(layer_norm(reshape(Variable(x), {2, 72}), {}, {}, 1e-5), {2, 6, 3, 4});
  CHECK(relative_error(group_norm(Variable(x), 1, {}, {}, 1e-5).value(), expected.value()) < 1e-14);
  CHECK(relative_error(group_norm(Variable(x.channels_last()), 1, {}, {}, 1e-5).value(),
                       expected.value()) < 1e-14);
}

TEST_CASE("group_norm: the layer starts as the normalisation alone") {
  GroupNorm norm(3, 6);
  norm.set_path("norm");
  norm.initialise(1);
  const Variable x(normal({2, 6, 3, 4}).to(DType::f32));
  CHECK(relative_error(norm(x, Pass{}).value(), group_norm(x, 3, {}, {}, 1e-5).value()) < 1e-7);
  CHECK(norm.parameters()[1].path() == "norm.bias");
}

TEST_CASE("group_norm: what does not fit is named") {
  const Variable x(zeros({2, 6, 1, 1}));
  CHECK_THROWS_WITH_AS(
      group_norm(x, 4, {}, {}, 1e-5),
      "[group_norm] groups 4: expected a divisor of the channels of x (2, 6, 1, 1)", ShapeError);
  CHECK_THROWS_WITH_AS(group_norm(x, 2, Variable(zeros({3})), {}, 1e-5),
                       "[group_norm] weight (3): expected (6), one per channel of x (2, 6, 1, 1)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(group_norm(Variable(zeros({0, 6})), 2, {}, {}, 1e-5),
                       "[group_norm] x (0, 6): expected (N, C, ...), not empty", ShapeError);
}

}  // namespace
}  // namespace vtrain
