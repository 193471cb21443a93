#include "compress/parts/sparsity_schedule.h"

#include <doctest/doctest.h>

#include "tensor/error.h"

namespace vtrain {
namespace {

using doctest::Approx;

constexpr SparsityRamp kRamps[] = {SparsityRamp::kLinear, SparsityRamp::kGeometric,
                                   SparsityRamp::kCubic};

TEST_CASE("sparsity schedule: starts at 0, rises, and ends at the rate exactly") {
  for (const SparsityRamp ramp : kRamps) {
    CHECK(sparsity_at(ramp, 0, 5, 0.9) == 0);
    for (int64_t k = 1; k <= 5; ++k)
      CHECK(sparsity_at(ramp, k, 5, 0.9) > sparsity_at(ramp, k - 1, 5, 0.9));
    CHECK(sparsity_at(ramp, 5, 5, 0.9) == 0.9);
    CHECK(sparsity_at(ramp, 1, 1, 0.3) == 0.3);
  }
}

TEST_CASE("sparsity schedule: values worked by hand") {
  // Cubic, 0.9: 0.9 (1 - (3/4)^3), 0.9 (1 - 1/8), 0.9 (1 - 1/64).
  CHECK(sparsity_at(SparsityRamp::kCubic, 1, 4, 0.9) == Approx(0.5203125));
  CHECK(sparsity_at(SparsityRamp::kCubic, 2, 4, 0.9) == Approx(0.7875));
  CHECK(sparsity_at(SparsityRamp::kCubic, 3, 4, 0.9) == Approx(0.8859375));
  // Geometric, 0.75 in two rounds: half goes, then half of the half.
  CHECK(sparsity_at(SparsityRamp::kGeometric, 1, 2, 0.75) == Approx(0.5));
  CHECK(sparsity_at(SparsityRamp::kLinear, 1, 3, 0.9) == Approx(0.3));
}

TEST_CASE("sparsity schedule: counts do not lose one to rounding") {
  CHECK(removed_count(0.9, 10) == 9);
  CHECK(removed_count(1 - 0.9, 10) == 1);  // 0.09999999999999998
  CHECK(removed_count(1 - 0.9, 20) == 2);
  CHECK(removed_count(0.3, 7) == 2);
  CHECK(removed_count(0, 7) == 0);
  CHECK(removed_count(1, 7) == 7);
}

TEST_CASE("sparsity schedule: rounds come behind every second epoch until all are done") {
  const PruningRounds rounds{.ramp = SparsityRamp::kLinear, .rounds = 3, .epochs_between = 2};
  CHECK(rounds.due_at_end_of(0) == 1);
  CHECK(rounds.due_at_end_of(1) == 2);
  CHECK(rounds.due_at_end_of(2) == 2);
  CHECK(rounds.due_at_end_of(3) == 3);
  CHECK(rounds.due_at_end_of(9) == 3);
  CHECK(rounds.epochs_needed() == 4);
  const PruningRounds at_once{.ramp = SparsityRamp::kLinear, .rounds = 3, .epochs_between = 0};
  CHECK(at_once.due_at_end_of(0) == 3);
  CHECK(at_once.epochs_needed() == 0);
}

}  // namespace
}  // namespace vtrain
