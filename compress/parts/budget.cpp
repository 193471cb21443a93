#include "compress/parts/budget.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace vtrain {
namespace {

struct Candidate {
  double priority;  // goes first if it is least
  size_t group;
  int64_t channel;
};

/// How many channels of a group may go.
int64_t most_removed(const CutGroup& group, const BudgetSettings& s) {
  const auto by_rate =
      static_cast<int64_t>(std::floor(s.max_rate * static_cast<double>(group.size()) + 1e-9));
  return std::clamp<int64_t>(by_rate, 0, std::max<int64_t>(0, group.size() - s.min_keep));
}

/// All channels that may go, in the order in which they do.
std::vector<Candidate> in_order(const CutGroups& groups,
                                const std::vector<std::vector<double>>& scores,
                                const BudgetSettings& s) {
  if (scores.size() != groups.groups().size())
    throw Error(str("budget: expected scores for each of ", groups.groups().size(), " groups, got ",
                    scores.size()));
  std::vector<Candidate> all;
  for (size_t g = 0; g < scores.size(); ++g) {
    if (scores[g].empty()) continue;
    const CutGroup& group = groups.groups()[g];
    if (static_cast<int64_t>(scores[g].size()) != group.size())
      throw Error(str("budget: ", group.name, ": expected ", group.size(), " scores, got ",
                      scores[g].size()));
    std::vector<int64_t> order(scores[g].size());
    for (size_t c = 0; c < order.size(); ++c) {
      order[c] = static_cast<int64_t>(c);
      if (!std::isfinite(scores[g][c]))
        throw Error(str("budget: ", group.name, ": the score of channel ", c, " is not finite"),
                    ExitCode::kNonFinite);
    }
    const auto score = [&](int64_t c) { return scores[g][static_cast<size_t>(c)]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return score(a) < score(b); });
    const int64_t most = most_removed(group, s);
    for (int64_t rank = 0; rank < most; ++rank) {
      const int64_t c = order[static_cast<size_t>(rank)];
      const double share = static_cast<double>(rank + 1) / static_cast<double>(group.size());
      all.push_back({s.mode == BudgetMode::kUniform ? share : score(c), g, c});
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.priority < b.priority; });
  return all;
}

/// The first `count` candidates go, but kept counts are whole multiples, rounded up: the last to go
/// of a group come back first.
Cut first_of(const CutGroups& groups, const std::vector<Candidate>& candidates, size_t count,
             int64_t round_to) {
  Cut cut = groups.nothing();
  for (size_t i = 0; i < count; ++i) cut[candidates[i].group].push_back(candidates[i].channel);
  for (size_t g = 0; g < cut.size(); ++g) {
    const int64_t size = groups.groups()[g].size();
    const int64_t kept = size - static_cast<int64_t>(cut[g].size());
    const int64_t rounded = std::min(size, (kept + round_to - 1) / round_to * round_to);
    cut[g].resize(static_cast<size_t>(size - rounded));
  }
  return cut;
}

Cut sorted(Cut cut) {
  for (auto& channels : cut) std::sort(channels.begin(), channels.end());
  return cut;
}

}  // namespace

Budget read_budget(Recipe budget) {
  Budget b;
  b.macs = budget.maybe_real("macs", in_open_low(0, 1), "share of the multiply-adds that stays");
  b.params = budget.maybe_real("params", in_open_low(0, 1), "share of the parameters that stays");
  b.latency_ms = budget.maybe_real("latency_ms", above(0), "time of one image, measured here");
  if (!b.macs && !b.params && !b.latency_ms)
    throw RecipeError(str(budget.where("macs"), ": ", budget.address(),
                          ": expected at least one of macs, params and latency_ms"));
  return b;
}

int64_t read_round_to(Recipe& r) {
  const std::string text =
      r.text("round_to", "1",
             "kept counts are multiples of it, rounded up; auto: the one that is fastest");
  if (text == "auto") return 0;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    r.fail("round_to", str("expected a whole number of at least 1, or auto, got ", text));
  return value;
}

Cut solve_budget(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                 const Budget& budget, const BudgetSettings& settings,
                 const std::function<double(const Cut&)>& latency) {
  const std::vector<Candidate> candidates = in_order(groups, scores, settings);
  const Cut nothing = groups.nothing();
  const auto macs = static_cast<double>(groups.macs(nothing)),
             params = static_cast<double>(groups.params(nothing));
  const auto meets = [&](const Cut& cut) {
    if (budget.macs && static_cast<double>(groups.macs(cut)) > *budget.macs * macs) return false;
    if (budget.params && static_cast<double>(groups.params(cut)) > *budget.params * params)
      return false;
    return !budget.latency_ms || latency(cut) <= *budget.latency_ms;
  };
  const auto of = [&](size_t count) {
    return first_of(groups, candidates, count, settings.round_to);
  };
  if (const Cut all = of(candidates.size()); !meets(all)) {
    std::string nearest;
    const auto add = [&nearest](const char* name, double asked, double reached, const char* unit) {
      nearest += str(nearest.empty() ? "" : "; ", name, ' ', asked, unit, " asked, ", reached, unit,
                     " is the least that can be reached");
    };
    const auto share = [](int64_t part, double whole) {
      return std::round(static_cast<double>(part) / whole * 1e4) / 1e4;
    };
    if (budget.macs) add("macs", *budget.macs, share(groups.macs(all), macs), "");
    if (budget.params) add("params", *budget.params, share(groups.params(all), params), "");
    if (budget.latency_ms) add("latency", *budget.latency_ms, latency(all), " ms");
    throw Error("budget: " + nearest, ExitCode::kBudget);
  }
  size_t low = 0, high = candidates.size();  // `high` meets it
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (meets(of(middle)))
      high = middle;
    else
      low = middle + 1;
  }
  Cut cut = of(high);
  if (settings.round_to > 1 || budget.latency_ms) return sorted(std::move(cut));
  // The last step may have been a wide one: what else fits comes back, the best first.
  constexpr size_t kTried = 256;
  for (size_t i = high; i-- > high - std::min(high, kTried);) {
    auto& own = cut[candidates[i].group];
    const auto at = std::find(own.begin(), own.end(), candidates[i].channel);
    const int64_t channel = *at;
    const auto index = at - own.begin();
    own.erase(at);
    if (!meets(cut)) own.insert(own.begin() + index, channel);
  }
  return sorted(std::move(cut));
}

Cut lowest_scores(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                  double rate, const BudgetSettings& settings) {
  BudgetSettings s = settings;
  s.mode = BudgetMode::kUniform;
  s.max_rate = std::min(s.max_rate, rate);
  const std::vector<Candidate> candidates = in_order(groups, scores, s);
  return sorted(first_of(groups, candidates, candidates.size(), s.round_to));
}

int64_t fastest_multiple(const CutGroups& groups, const std::vector<std::vector<double>>& scores,
                         const std::function<double(const Cut&)>& latency) {
  constexpr int64_t kMultiples[] = {1, 4, 8, 16, 32};
  constexpr double kEqual = 1.03;
  std::vector<double> times;
  for (const int64_t multiple : kMultiples)
    times.push_back(latency(lowest_scores(groups, scores, 0.5, {.round_to = multiple})));
  const double least = *std::ranges::min_element(times);
  for (size_t i = times.size(); i-- > 0;) {
    if (times[i] <= kEqual * least) return kMultiples[i];
  }
  return 1;
}

}  // namespace vtrain
