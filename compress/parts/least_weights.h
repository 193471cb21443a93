#pragma once

#include <cstdint>
#include <vector>

namespace vtrain {

/// Scores of single weights, by layer and by flat index.
using WeightScores = std::vector<std::vector<float>>;

/// How many weights of each layer go if the `removed` of least score go over all layers together.
/// Ties go by layer and index; a layer keeps `min_keep` weights, and others go in their place while
/// there are any. Throws Error with ExitCode::kNonFinite for a score that is NaN.
std::vector<int64_t> counts_over_all(const WeightScores& scores, int64_t removed, int64_t min_keep);

/// 1 for each weight of a layer that stays when the `removed` of least score go; ties by index.
std::vector<char> all_but_least(const std::vector<float>& scores, int64_t removed);

}  // namespace vtrain
