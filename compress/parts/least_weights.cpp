#include "compress/parts/least_weights.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

void refuse_nan(const std::vector<float>& scores) {
  const auto nan =
      std::find_if(scores.begin(), scores.end(), [](float s) { return std::isnan(s); });
  if (nan != scores.end())
    throw Error(str("pruning: the score of weight ", nan - scores.begin(), " is not a number"),
                ExitCode::kNonFinite);
}

}  // namespace

std::vector<int64_t> counts_over_all(const WeightScores& scores, int64_t removed,
                                     int64_t min_keep) {
  struct Candidate {
    float score;
    int32_t layer;
    int64_t index;
  };
  std::vector<Candidate> all;
  for (size_t l = 0; l < scores.size(); ++l) {
    refuse_nan(scores[l]);
    for (size_t i = 0; i < scores[l].size(); ++i)
      all.push_back({scores[l][i], static_cast<int32_t>(l), static_cast<int64_t>(i)});
  }
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.score, a.layer, a.index) < std::tie(b.score, b.layer, b.index);
  });
  std::vector<int64_t> counts(scores.size(), 0);
  for (const Candidate& c : all) {
    if (removed <= 0) break;
    const auto layer = static_cast<size_t>(c.layer);
    if (static_cast<int64_t>(scores[layer].size()) - counts[layer] <= min_keep) continue;
    ++counts[layer];
    --removed;
  }
  return counts;
}

std::vector<char> all_but_least(const std::vector<float>& scores, int64_t removed) {
  refuse_nan(scores);
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto middle = order.begin() + removed;
  std::nth_element(order.begin(), middle, order.end(), [&](int64_t a, int64_t b) {
    return std::tie(scores[static_cast<size_t>(a)], a) <
           std::tie(scores[static_cast<size_t>(b)], b);
  });
  std::vector<char> kept(scores.size(), 1);
  for (auto at = order.begin(); at != middle; ++at) kept[static_cast<size_t>(*at)] = 0;
  return kept;
}

}  // namespace vtrain
