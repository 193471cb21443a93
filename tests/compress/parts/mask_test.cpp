#include "compress/parts/mask.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"

namespace vtrain {
namespace {

Parameter weight_of(const Shape& shape, std::initializer_list<double> values) {
  Parameter p(shape, Init::zeros());
  p.set_path("layer.weight");
  p.set(from_values(shape, values));
  return p;
}

/// A mask object as a run would make it, without the run.
WeightMasks made(const Parameter& p, WeightMasks::Form form) { return WeightMasks({p}, form); }

TEST_CASE("mask: elements and rows are hidden, and counted") {
  const Parameter w = weight_of({2, 3}, {1, 2, 3, 4, 5, 6});
  WeightMasks elements = made(w, WeightMasks::Form::kElements);
  elements.initialise(0);
  CHECK(elements.zeros() == 0);
  set_mask(elements.entries()[0], {1, 0, 1, 1, 1, 0});
  CHECK(elements.zeros() == 2);
  CHECK(elements.size() == 6);
  elements.apply();
  CHECK(w.value().to_vector() == std::vector<double>{1, 0, 3, 4, 5, 0});

  WeightMasks rows = made(w, WeightMasks::Form::kRows);
  rows.initialise(0);
  CHECK(rows.entries()[0].mask.value().shape() == Shape{2, 1});
  set_mask(rows.entries()[0], {0, 1});
  rows.apply();
  CHECK(w.value().to_vector() == std::vector<double>{0, 0, 0, 4, 5, 0});
}

TEST_CASE("mask: hard hides a weight from its gradient, straight-through does not") {
  const Parameter w = weight_of({3}, {1, 2, 3});
  WeightMasks masks = made(w, WeightMasks::Form::kElements);
  masks.initialise(0);
  set_mask(masks.entries()[0], {1, 0, 1});
  for (const auto gradient :
       {WeightMasks::Gradient::kHard, WeightMasks::Gradient::kStraightThrough}) {
    const Variable x = Variable::leaf(w.value().clone());
    const Variable y = WeightMasks::transform(masks.entries()[0], gradient)(x, Pass{});
    CHECK(y.value().to_vector() == std::vector<double>{1, 0, 3});
    backward(y, from_values({3}, {10, 20, 30}));
    const bool is_hard = gradient == WeightMasks::Gradient::kHard;
    CHECK(x.grad().to_vector() == std::vector<double>{10, is_hard ? 0.0 : 20.0, 30});
  }
}

TEST_CASE("mask: it is found by its parameter, and another is refused by name") {
  const Parameter w = weight_of({1}, {1});
  const WeightMasks masks = made(w, WeightMasks::Form::kElements);
  CHECK(masks.of("layer.weight").parameter == w);
  CHECK_THROWS_WITH_AS(masks.of("other"), "mask: there is none of other", Error);
}

}  // namespace
}  // namespace vtrain
