// Pruning by magnitude in its simplest form, after Han, Pool, Tran, Dally, "Learning both Weights
// and Connections for Efficient Neural Networks", NIPS 2015, arXiv:1506.02626.
//
//   w <- 0 for the floor(rate n) weights of least |w| of every layer, when the phase begins
//
// They stay 0 while the others train on. The paper prunes in rounds, and each layer by its own
// sensitivity: neither is built here.
//
// This file is what `vtrain new method NAME` starts a new method from, hence its many comments. The
// opening comment of a method is its page in docs/methods/: who, what, as a formula in plain text,
// and where we differ from the paper.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "compress/parts/mask.h"
#include "compress/parts/prunable_weights.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

/// The mathematics stands in small free functions that a reader can check against the paper.
/// 0 at the floor(rate n) elements of least |w|, 1 elsewhere; of equal ones the first go.
std::vector<char> mask_of(const std::vector<double>& w, double rate) {
  std::vector<size_t> order(w.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return std::abs(w[i]); });
  std::vector<char> mask(w.size(), 1);
  const auto gone = static_cast<size_t>(rate * static_cast<double>(w.size()));
  for (size_t i = 0; i < gone; ++i) mask[order[i]] = 0;
  return mask;
}

/// One object serves one phase of a run. It overrides the hooks it needs; compress/method.h lists
/// them in the order in which they are called.
class Example final : public Method {
 public:
  /// Knobs: name, default, range and a line of help stand here and nowhere else. What a recipe
  /// writes that is not read here is an error with the nearest key.
  explicit Example(Recipe& r)
      : choice_(read_weight_choice(r)),  // layers, skip, first_layer: shared with other methods
        rate_(r.real("rate", 0.5, in(0, 1), "share of every layer's weights that becomes 0")),
        place_(str(r.where("layers"), ": ", r.address())) {}

  /// Plain members that change while training, for checkpoints: one function saves and loads.
  void state(Archive& archive) override { archive("gone", gone_); }

  /// Before training, and again on resume: finds what it works on, adds helpers and hooks. It
  /// depends on knobs and structure alone, reads no data and changes nothing. What cannot work is
  /// refused here (prunable_weights throws), with the place in the recipe.
  void attach(Run& run) override {
    weights_ = prunable_weights(run.net(), choice_, place_);
    // A helper's tensors are saved and resumed with the network, and cut with what they mask.
    masks_ = std::make_shared<WeightMasks>(parameters_of(weights_), WeightMasks::Form::kElements);
    WeightMasks::join(run, "masks", masks_);
    // The forward pass sees w * mask. One method at most sits in one slot of one weight.
    for (const WeightMasks::Entry& e : masks_->entries())
      run.transform_weight(e.parameter, Slot::kMask,
                           WeightMasks::transform(e, WeightMasks::Gradient::kHard));
  }

  /// Once per phase and never on resume: scores, calibration, the first cut.
  void start(Run&) override {
    for (const WeightMasks::Entry& e : masks_->entries())
      set_mask(e, mask_of(e.parameter.value().to_vector(), rate_));
    masks_->apply();
    gone_ = masks_->zeros();
  }

  // before_forward sets what follows a schedule, loss adds terms (step.add_loss), after_backward
  // edits gradients. This method needs none of them.

  /// Weights have moved, by weight decay if not by gradients: back to 0, momentum included.
  void after_update(Step& step) override {
    masks_->apply();
    masks_->apply_to_moments(step.run());
    if (step.ends_epoch())  // metrics.csv and the step line
      step.run().log("zeros_percent", 100.0 * static_cast<double>(masks_->zeros()) /
                                          static_cast<double>(masks_->size()));
  }

  /// The end of the phase: what was simulated becomes real. Hooks are dropped behind this; here the
  /// weights are 0 already. A method that removes rows says so with run.edit().
  void finish(Run& run) override {
    masks_->apply();  // a moving average of weights is not exactly 0
    run.report("weights", str(gone_, " of ", masks_->size(), " are 0"));
  }

 private:
  WeightChoice choice_;
  double rate_;
  std::string place_;  // of the recipe's section, for errors

  std::vector<PrunableWeight> weights_;
  std::shared_ptr<WeightMasks> masks_;
  int64_t gone_ = 0;
};

/// Name in recipes, paper, a line for `vtrain list methods`, and what the method leaves behind:
/// dense-smaller, packed, file-only or training-only.
const Registered<Example> registered(
    "example", "arXiv:1506.02626",
    "the template of new methods: a layer's smallest weights become 0", ResultKind::kFileOnly);

}  // namespace
}  // namespace vtrain
