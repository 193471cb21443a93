#include "compress/parts/sparsity_schedule.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

double sparsity_at(SparsityRamp ramp, int64_t k, int64_t n, double rate) {
  if (k >= n) return rate;  // not through rounding: the target is met exactly
  const double t = static_cast<double>(k) / static_cast<double>(n);
  switch (ramp) {
    case SparsityRamp::kLinear:
      return rate * t;
    case SparsityRamp::kGeometric:
      return 1 - std::pow(1 - rate, t);
    case SparsityRamp::kCubic:
      return rate * (1 - std::pow(1 - t, 3));
  }
  return rate;
}

int64_t removed_count(double rate, int64_t n) {
  return static_cast<int64_t>(std::floor(rate * static_cast<double>(n) + 1e-9));
}

int64_t PruningRounds::due_at_end_of(int64_t epoch) const {
  if (epochs_between == 0) return rounds;
  return std::min(rounds, 1 + (epoch + 1) / epochs_between);
}

PruningRounds read_rounds(Recipe& r, int64_t rounds, int64_t retrain_epochs) {
  PruningRounds result;
  const std::string ramp =
      r.choice("schedule", "geometric", {"geometric", "linear", "cubic"},
               "how the removed share grows; geometric: the same share of the survivors each time");
  result.ramp = ramp == "geometric" ? SparsityRamp::kGeometric
                : ramp == "linear"  ? SparsityRamp::kLinear
                                    : SparsityRamp::kCubic;
  result.rounds = r.integer("rounds", rounds, at_least(1), "how often weights are removed");
  result.epochs_between = r.integer("retrain_epochs", retrain_epochs, at_least(0),
                                    "epochs between two rounds; 0: all rounds at the start");
  return result;
}

}  // namespace vtrain
