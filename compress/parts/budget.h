#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compress/parts/cut_groups.h"
#include "recipes/recipe.h"

namespace vtrain {

/// How small a network shall become: shares of what it has now, in (0, 1], or a time.
struct Budget {
  std::optional<double> macs = {}, params = {};  // shares
  std::optional<double> latency_ms = {};         // of one image, measured
};

/// Reads `budget: {macs: 0.5, params: 0.5, latency_ms: 3}`, at least one of them.
Budget read_budget(Recipe budget);

/// Reads `round_to`: a number, or `auto`, which is 0 here (see fastest_multiple).
int64_t read_round_to(Recipe& r);

/// In which order channels go.
enum class BudgetMode {
  kUniform,  // every group loses the same share, its lowest scores first
  kGlobal,   // the lowest scores of all groups first
};

struct BudgetSettings {
  BudgetMode mode = BudgetMode::kUniform;
  int64_t round_to = 1;  // kept counts are multiples of it, rounded up, or whole
  int64_t min_keep = 1;  // of every group
  double max_rate = 1;   // largest share of a group that goes
};

/// The fewest channels, in the order of the mode, whose removal meets a budget; never past it.
///   scores[g][c]   importance of channel c of group g; groups with an empty list stay whole
///   latency        milliseconds of what a cut leaves; asked only if the budget names a time
/// Ties go by group and channel. Throws Error with exit code 5 (infeasible) and the nearest figure
/// that can be reached; RecipeError for scores that are not finite or do not fit.
Cut solve_budget(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                 const Budget& budget, const BudgetSettings& settings,
                 const std::function<double(const Cut&)>& latency = {});

/// Kept counts by rates instead of a budget: floor(rate * size) of every scored group go.
Cut lowest_scores(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                  double rate, const BudgetSettings& settings);

/// The multiple in which a network's channels are best kept: of 1, 4, 8, 16 and 32 the one with
/// which it runs fastest when half of every scored group is gone, kept counts rounded up to it. Of
/// times that lie within 3 % the largest multiple is taken, which keeps most.
///   latency  milliseconds of what a cut leaves (MeasuredLatency)
int64_t fastest_multiple(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                         const std::function<double(const Cut&)>& latency);

}  // namespace vtrain
