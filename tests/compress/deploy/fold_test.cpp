#include "compress/deploy/fold.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/ops/batch_norm.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {
namespace {

// One channel of two, by hand: var 3.75 + eps 0.25 = 4, so scale = 6 / 2 = 3, shift = 1 - 5 * 3.
TEST_CASE("fold: scale and shift of batch norm are worked in double") {
  PlanValues values(7);
  const auto constant = [&](size_t i, std::initializer_list<double> v) {
    values[i].constant = from_values({2}, v);
  };
  constant(1, {6, 1});
  constant(2, {1, 0});
  constant(4, {5, 0});
  constant(5, {3.75, 0.75});
  const Graph::Node node{.op = {"batch_norm", {{"eps", 0.25}, {"is_training", 0}}},
                         .scope = "bn/batch_norm.0",
                         .inputs = {0, 1, 2, -1, 4, 5},
                         .output = 6};
  const ScaleShift s = scale_shift_of(node, values);
  CHECK(s.scale == std::vector<double>{3, 1});
  CHECK(s.shift == std::vector<double>{-14, 0});

  Graph::Node training = node;
  training.op.attributes[1].second = 1;
  CHECK_THROWS_WITH_AS(
      scale_shift_of(training, values),
      "deploy: layer bn: expected batch norm with running statistics, got the batch's", Error);
}

TEST_CASE("fold: a weight and a bias behind each other are rounded once") {
  const Tensor weight = from_values({2, 1, 1, 2}, {1, 2, 3, 4});
  const FoldedProduct f = fold(weight, from_values({2}, {10, 20}), {{2, -1}, {0.5, 7}});
  CHECK(f.weight.shape() == weight.shape());
  CHECK(f.weight.to_vector() == std::vector<double>{2, 4, -3, -4});
  CHECK(f.bias.to_vector() == std::vector<double>{20.5, -13});
  CHECK(fold(weight, {}, {{2, -1}, {0.5, 7}}).bias.to_vector() == std::vector<double>{0.5, 7});
}

}  // namespace
}  // namespace vtrain
