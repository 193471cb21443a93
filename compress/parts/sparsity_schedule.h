#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace vtrain {

/// How the removed share grows over the rounds of a method.
enum class SparsityRamp {
  kLinear,     // the same share of all weights each round
  kGeometric,  // the same share of the survivors each round
  kCubic       // much at first: Zhu, Gupta, "To Prune, or Not to Prune", arXiv:1710.01878
};

/// The share of all that is gone after round k of n, k in [0, n]: 0 at 0, `rate` at n, exactly.
///   linear     rate k / n
///   geometric  1 - (1 - rate)^(k / n)
///   cubic      rate (1 - (1 - k / n)^3)
double sparsity_at(SparsityRamp ramp, int64_t k, int64_t n, double rate);

/// floor(rate n + 1e-9): of 10 at 0.9, 9 go, where plain truncation of 10 (1 - 0.9) keeps none.
int64_t removed_count(double rate, int64_t n);

/// Rounds of a phase: the first at its start, the others each at the end of an epoch.
struct PruningRounds {
  SparsityRamp ramp = SparsityRamp::kGeometric;
  int64_t rounds = 1;
  int64_t epochs_between = 1;  // 0: all rounds at the start

  /// How many rounds are due when `epoch` (from 0) ends; 1 before the first epoch.
  int64_t due_at_end_of(int64_t epoch) const;
  /// The epochs at whose end the last round comes.
  int64_t epochs_needed() const { return (rounds - 1) * epochs_between; }
};

/// Reads `schedule`, `rounds` and `retrain_epochs`.
PruningRounds read_rounds(Recipe& r, int64_t rounds, int64_t retrain_epochs);

}  // namespace vtrain
