// Pruning filters by their L1 norm. Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for
// Efficient ConvNets", ICLR 2017, arXiv:1608.08710.
//
//   s_j = sum |W[j, :, :, :]|        the floor(rate * O) filters of least s_j go, with their
//                                    normalisation and the next layer's kernels for them
//
// At the start of its phase the trained network is cut at once; the rest of the phase trains what
// is left. `order: iterative` cuts one layer at the end of every `retrain_epochs` epochs instead,
// from the first layer on. Channels that residual sums bind together stay whole unless `streams:
// coupled` lets them go, with s_j summed over all filters that write to channel j. The paper's rule
// for projections, to let the shortcut's filters decide, is not built.
#include <algorithm>
#include <map>

#include "compress/deploy/latency.h"
#include "compress/parts/budget.h"
#include "compress/parts/filter_groups.h"
#include "compress/parts/importance.h"
#include "compress/parts/path_glob.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

using Scores = std::vector<std::vector<double>>;  // by group; empty: it stays whole

class L1Filters final : public Method {
 public:
  explicit L1Filters(Recipe& r)
      : rate_(r.real("rate", 0.5, in(0, 1), "share of each layer's filters that goes")),
        rates_(r.reals("rates", {}, in(0, 1), "one rate for each entry of layers")),
        has_budget_(r.has("budget")),
        choice_(read_filter_choice(r)),
        norm_(norm_of(r.choice("norm", "l1", {"l1", "l2", "max"}, "of a filter"))),
        is_greedy_(r.choice("selection", "independent", {"independent", "greedy"},
                            "greedy: norms leave out kernels of filters that are gone") ==
                   "greedy"),
        pick_(r.choice("pick", "smallest", {"smallest", "random", "largest"},
                       "which filters go; random is the control")),
        is_iterative_(r.choice("order", "one_shot", {"one_shot", "iterative"},
                               "all layers at the start, or one after the other") == "iterative"),
        retrain_epochs_(r.integer("retrain_epochs", 1, at_least(1),
                                  "epochs behind each layer of order iterative")) {
    settings_.round_to = read_round_to(r);
    settings_.min_keep = r.integer("min_keep", 1, at_least(1), "filters that every layer keeps");
    settings_.max_rate = 1;
    const Recipe budget = r.section("budget", "in place of rate");
    if (has_budget_) budget_ = read_budget(budget);
    if (!rates_.empty() && rates_.size() != choice_.layers.size())
      r.fail("rates", str("expected one rate per entry of layers (", choice_.layers.size(),
                          "), got ", rates_.size()));
    for (const char* const key : {"rate", "budget"}) {
      if (!rates_.empty() && r.has(key)) r.fail(key, "expected one of rate, rates and budget");
    }
    if (has_budget_ && is_iterative_) r.fail("order", "iterative goes by rate, not by a budget");
    key_ = str(r.where("layers"), ": ", r.address());
  }

  void state(Archive& archive) override {
    archive("done", done_)("removed", removed_)("kept", kept_)("round_to", settings_.round_to);
  }

  void attach(Run& run) override { require_filters(run.net(), choice_, key_); }

  void start(Run& run) override {
    if (is_iterative_) return;
    const CutGroups groups(run.net());
    choose_multiple(run, groups);
    const Scores all = scores(run, groups);
    const MeasuredLatency latency(run.net(), groups);
    cut(run, groups,
        has_budget_ ? solve_budget(groups, all, budget_, settings_,
                                   [&](const Cut& c) { return latency.milliseconds(c); })
                    : lowest(groups, all));
  }

  void after_update(Step& step) override {
    if (!is_iterative_ || !step.ends_epoch() || (step.pass().epoch + 1) % retrain_epochs_ != 0)
      return;
    Run& run = step.run();
    const CutGroups groups(run.net());
    const std::vector<size_t> order = chosen(run, groups);
    const auto is_next = [&](size_t g) {
      return done_.find(str('\n', groups.groups()[g].name, '\n')) == std::string::npos;
    };
    const auto next = std::find_if(order.begin(), order.end(), is_next);
    if (next == order.end()) return;
    choose_multiple(run, groups);
    Scores all = scores(run, groups);
    for (size_t g = 0; g < all.size(); ++g) {
      if (g != *next) all[g].clear();
    }
    done_ += str('\n', groups.groups()[*next].name, '\n');
    cut(run, groups, lowest(groups, all));
  }

  void finish(Run& run) override {
    run.report("filters", str(removed_, " of ", removed_ + kept_, " cut"));
    if (budget_.latency_ms)
      run.report("latency", str(measure_latency_ms(run.net()), " ms measured at the end, ",
                                *budget_.latency_ms, " asked"));
  }

 private:
  static WeightNorm norm_of(const std::string& name) {
    return name == "l1" ? WeightNorm::kL1 : name == "l2" ? WeightNorm::kL2 : WeightNorm::kMax;
  }

  /// Groups of filters that the recipe lets go, in the network's order.
  std::vector<size_t> chosen(Run& run, const CutGroups& groups) const {
    return filter_groups(run.net(), groups, choice_, key_);
  }

  /// Filters of least score, by rate or rates.
  Cut lowest(const CutGroups& groups, const Scores& all) const {
    if (rates_.empty()) return lowest_scores(groups, all, rate_, settings_);
    Cut result = groups.nothing();
    for (size_t g = 0; g < all.size(); ++g) {
      Scores alone(all.size());
      alone[g] = all[g];
      result[g] = lowest_scores(groups, alone, rate_of(groups.groups()[g].name), settings_)[g];
    }
    return result;
  }
  /// Of the first entry of the layers that names the group.
  double rate_of(const std::string& name) const {
    const auto found = std::ranges::find_if(
        choice_.layers, [&](const std::string& glob) { return matches_glob(glob, name); });
    return found == choice_.layers.end()
               ? 0
               : rates_[static_cast<size_t>(found - choice_.layers.begin())];
  }

  Scores scores(Run& run, const CutGroups& groups) {
    Scores all(groups.groups().size());
    std::map<std::string, std::vector<int64_t>> gone;  // columns of weights, by parameter
    const auto columns = [&gone](const std::string& parameter) {
      const auto found = gone.find(parameter);
      return found == gone.end() ? nullptr : &found->second;
    };
    for (const size_t g : chosen(run, groups)) {
      const CutGroup& group = groups.groups()[g];
      all[g] = row_norms(run.net(), group, norm_, columns);
      if (pick_ == "largest") {
        for (double& s : all[g]) s = -s;
      } else if (pick_ == "random") {
        all[g] = run.random(str("pick.", group.name)).uniform({group.size()}, {}).to_vector();
      }
      if (!is_greedy_) continue;
      Scores alone(all.size());
      alone[g] = all[g];
      const Cut going = lowest(groups, alone);
      for (const int64_t channel : going[g]) {
        for (size_t p = 0; p < group.places.size(); ++p) {
          if (group.places[p].axis != 1) continue;
          const auto& indices = group.indices[static_cast<size_t>(channel)][p];
          auto& own = gone[group.places[p].parameter];
          own.insert(own.end(), indices.begin(), indices.end());
        }
      }
    }
    return all;
  }

  /// round_to: auto, measured once in a run.
  void choose_multiple(Run& run, const CutGroups& groups) {
    if (settings_.round_to > 0) return;
    settings_.round_to = 1;
    const MeasuredLatency latency(run.net(), groups);
    settings_.round_to = fastest_multiple(groups, scores(run, groups),
                                          [&](const Cut& c) { return latency.milliseconds(c); });
    run.report("round_to", str(settings_.round_to, ", measured"));
  }

  void cut(Run& run, const CutGroups& groups, const Cut& cut) {
    for (size_t g = 0; g < cut.size(); ++g) {
      removed_ += static_cast<int64_t>(cut[g].size());
      if (!cut[g].empty()) kept_ += groups.groups()[g].size() - static_cast<int64_t>(cut[g].size());
    }
    run.edit().cut(groups, cut).apply();
  }

  double rate_;
  std::vector<double> rates_;  // by entry of the layers; empty: rate
  bool has_budget_;
  Budget budget_;
  BudgetSettings settings_;
  FilterChoice choice_;
  WeightNorm norm_;
  bool is_greedy_;
  std::string pick_;
  bool is_iterative_;
  int64_t retrain_epochs_;
  std::string key_;  // the place of the recipe's section, for errors

  std::string done_;  // of order iterative: names of groups, each between two line breaks
  int64_t removed_ = 0, kept_ = 0;  // filters
};

const Registered<L1Filters> registered("l1_filters", "arXiv:1608.08710",
                                       "filters of least L1 norm are cut, the rest is trained on",
                                       ResultKind::kDenseSmaller);

}  // namespace
}  // namespace vtrain
