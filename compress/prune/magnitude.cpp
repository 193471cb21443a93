// Magnitude pruning with retraining. Han, Pool, Tran, Dally, "Learning both Weights and Connections
// for Efficient Neural Networks", NIPS 2015, arXiv:1506.02626.
//
//   keep w iff |w| > t        mode count: t is such that floor(rate n) weights go, ties by position
//                             mode std:   t = quality * std(W_l), of each layer
//
// The first round is at the start of the phase, from trained weights; each later round comes after
// `retrain_epochs` epochs, among the survivors. Masks are hard: after every update weights and the
// optimizer's moments are 0 where the mask is.
//
// By default weights of all layers are compared (scope global); the paper gives each layer a share
// by its sensitivity (`rates`, one for each entry of `layers`). The paper's smaller dropout while
// retraining is not built, nor its smaller learning rate: that is the phase's own optim.lr.
// Removed weights leave zeros in a dense file; units that lose all inputs or all readers are cut.
#include <algorithm>
#include <cmath>
#include <memory>

#include "compress/parts/dead_units.h"
#include "compress/parts/least_weights.h"
#include "compress/parts/mask.h"
#include "compress/parts/prunable_weights.h"
#include "compress/parts/sparsity_report.h"
#include "compress/parts/sparsity_schedule.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

/// The standard deviation of the elements of a layer, population form.
double standard_deviation(const std::vector<double>& w) {
  double sum = 0, squares = 0;
  for (const double x : w) sum += x;
  const double mean = sum / static_cast<double>(w.size());
  for (const double x : w) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / static_cast<double>(w.size()));
}

class Magnitude final : public Method {
 public:
  explicit Magnitude(Recipe& r)
      : choice_(read_weight_choice(r)),
        rate_(r.real("rate", 0.9, in(0, 1), "share of the weights that is gone in the end")),
        rates_(r.reals("rates", {}, in(0, 1), "one rate for each entry of layers")),
        is_by_deviation_(r.choice("mode", "count", {"count", "std"},
                                  "std: what is below quality standard deviations goes") == "std"),
        quality_(r.real("quality", 1, at_least(0), "standard deviations of mode std")),
        is_global_(r.choice("scope", "global", {"global", "layer"},
                            "over which weights the rate is counted") == "global"),
        pick_is_random_(
            r.choice("pick", "smallest", {"smallest", "random"},
                     "which weights go; random, with the same counts, is the control") == "random"),
        rounds_(read_rounds(r, 5, 2)),
        min_keep_(r.integer("min_keep", 1, at_least(1), "weights that every layer keeps")),
        freezes_others_(
            r.flag("freeze_other", false, "whether parameters of all other layers are constants")) {
    if (!rates_.empty() && rates_.size() != choice_.layers.size()) {
      r.fail("rates", str("expected one rate per entry of layers (", choice_.layers.size(),
                          "), got ", rates_.size()));
    }
    if (!rates_.empty() && r.has("rate")) r.fail("rate", "expected rate or rates, got both");
    if (is_by_deviation_) {
      for (const char* const key : {"rate", "rates", "scope"}) {
        if (r.has(key)) r.fail(key, "has no effect in mode std, where quality decides");
      }
      if (r.has("rounds") && rounds_.rounds != 1)
        r.fail("rounds", "mode std has one threshold and so one round");
      rounds_.rounds = 1;
    } else if (r.has("quality")) {
      r.fail("quality", "has no effect in mode count, where rate decides");
    }
    key_ = str(r.where("layers"), ": ", r.address());
    rounds_key_ = str(r.where("rounds"), ": ", r.address(), ".rounds");
  }

  void state(Archive& archive) override { archive("done", done_); }

  void attach(Run& run) override {
    if (rounds_.epochs_needed() > run.epochs()) {
      throw RecipeError(str(rounds_key_, ": ", rounds_.rounds, " rounds, ", rounds_.epochs_between,
                            " epochs apart, need at least ", rounds_.epochs_needed(),
                            " epochs, phase ", run.phase(), " has ", run.epochs()));
    }
    weights_ = prunable_weights(run.net(), choice_, key_);
    masks_ = std::make_shared<WeightMasks>(parameters_of(weights_), WeightMasks::Form::kElements);
    WeightMasks::join(run, "masks", masks_);
    for (const WeightMasks::Entry& e : masks_->entries())
      run.transform_weight(e.parameter, Slot::kMask,
                           WeightMasks::transform(e, WeightMasks::Gradient::kHard));
    if (freezes_others_) freeze_others(run);
  }

  void start(Run& run) override {
    prune_until(run, rounds_.epochs_between == 0 ? rounds_.rounds : 1);
  }

  void after_update(Step& step) override {
    masks_->apply();
    masks_->apply_to_moments(step.run());
    if (!step.ends_epoch()) return;
    prune_until(step.run(), rounds_.due_at_end_of(step.pass().epoch));
    step.run().log("zeros_percent", zeros_percent());
  }

  bool is_settled() const override { return done_ >= rounds_.rounds; }

  void finish(Run& run) override {
    masks_->apply();  // the moving average of weights that went late is not 0
    report_sparsity(run, weights_);
    std::string floored;
    for (size_t l = 0; l < weights_.size(); ++l) {
      if (count_nonzero(masks_->entries()[l].mask.value()) <= min_keep_)
        floored += str(floored.empty() ? "" : ", ", weights_[l].layer);
    }
    if (!floored.empty()) run.report("at min_keep", floored);
    report_dead_units(run, remove_dead_units(run));
  }

 private:
  void freeze_others(Run& run) const {
    for (const Parameter& p : run.net().parameters()) {
      const bool is_chosen =
          std::any_of(weights_.begin(), weights_.end(),
                      [&](const PrunableWeight& w) { return p.path().starts_with(w.layer + '.'); });
      if (!is_chosen) run.freeze(p.path());
    }
  }

  double zeros_percent() const {
    return 100.0 * static_cast<double>(masks_->zeros()) / static_cast<double>(masks_->size());
  }

  void prune_until(Run& run, int64_t round) {
    for (; done_ < round; ++done_) prune(run);
  }

  /// |w|, and -1 for what is gone already: that goes first again.
  WeightScores scores() const {
    WeightScores scores;
    for (const WeightMasks::Entry& e : masks_->entries()) {
      const std::vector<double> w = e.parameter.value().to_vector(), m = e.mask.value().to_vector();
      std::vector<float> own(w.size());
      for (size_t i = 0; i < w.size(); ++i)
        own[i] = m[i] == 0 ? -1.0F : static_cast<float>(std::abs(w[i]));
      scores.push_back(std::move(own));
    }
    return scores;
  }

  /// How many weights of each layer are gone after this round.
  std::vector<int64_t> counts(const WeightScores& scores) const {
    std::vector<int64_t> counts;
    if (is_by_deviation_) {
      for (size_t l = 0; l < scores.size(); ++l) {
        const double bound = quality_ * standard_deviation(weights_[l].weight.value().to_vector());
        counts.push_back(std::count_if(scores[l].begin(), scores[l].end(),
                                       [&](float s) { return static_cast<double>(s) <= bound; }));
      }
    } else if (is_global_ && rates_.empty()) {
      int64_t all = 0;
      for (const auto& layer : scores) all += static_cast<int64_t>(layer.size());
      return counts_over_all(scores, removed_count(share(rate_), all), min_keep_);
    } else {
      for (size_t l = 0; l < scores.size(); ++l) {
        const double rate = rates_.empty() ? rate_ : rates_[static_cast<size_t>(weights_[l].glob)];
        counts.push_back(removed_count(share(rate), static_cast<int64_t>(scores[l].size())));
      }
    }
    for (size_t l = 0; l < scores.size(); ++l) {
      const auto size = static_cast<int64_t>(scores[l].size());
      counts[l] = std::min(counts[l], std::max<int64_t>(0, size - min_keep_));
    }
    return counts;
  }

  double share(double rate) const {
    return sparsity_at(rounds_.ramp, done_ + 1, rounds_.rounds, rate);
  }

  void prune(Run& run) {
    WeightScores all = scores();
    const std::vector<int64_t> gone = counts(all);
    for (size_t l = 0; l < all.size(); ++l) {
      if (pick_is_random_) randomise(run, weights_[l].layer, all[l]);
      set_mask(masks_->entries()[l], all_but_least(all[l], gone[l]));
    }
    masks_->apply();
    masks_->apply_to_moments(run);
  }

  /// Other scores for what is still there.
  void randomise(Run& run, const std::string& layer, std::vector<float>& scores) const {
    const Random random = run.random(str("pick.", layer));
    const std::vector<double> draws =
        random.uniform({static_cast<int64_t>(scores.size())}, {.step = done_}).to_vector();
    for (size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] >= 0) scores[i] = static_cast<float>(draws[i]);
    }
  }

  WeightChoice choice_;
  double rate_;
  std::vector<double> rates_;
  bool is_by_deviation_;
  double quality_;
  bool is_global_, pick_is_random_;
  PruningRounds rounds_;
  int64_t min_keep_;
  bool freezes_others_;
  std::string key_, rounds_key_;  // places of the recipe, for errors

  std::vector<PrunableWeight> weights_;
  std::shared_ptr<WeightMasks> masks_;
  int64_t done_ = 0;  // rounds
};

const Registered<Magnitude> registered("magnitude", "arXiv:1506.02626",
                                       "weights of least magnitude become 0, the rest retrains",
                                       ResultKind::kFileOnly);

}  // namespace
}  // namespace vtrain
