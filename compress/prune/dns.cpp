// Dynamic network surgery. Guo, Yao, Chen, "Dynamic Network Surgery for Efficient DNNs", NIPS 2016,
// arXiv:1608.04493.
//
//   T <- 0 where |w| < a,  as it was where a <= |w| < b,  1 where |w| >= b     spliced if it was 0
//   a = low c,  b = high c,  c = max(mu + c_rate sd, 0)      mu, sd of |w|, w not 0, of each layer
//   forward uses W T; every weight, also a pruned one, moves by dL/d(W T)
//
// The thresholds are those of the weights that the phase starts with. At step i a layer's mask is
// looked at again with probability (1 + gamma i)^(-power), until the share `update_share` of the
// steps is over. Weight decay acts on all of W, and pulls what is pruned to 0.
//
// Where we differ from the authors' code: it takes mu and sd over weights and biases and masks
// both, here biases stay out; it prunes at |w| = a already. A layer that would lose its last weight
// keeps the mask it has. In the end zeros stand in a dense file, and units that lost all inputs or
// all readers are cut.
#include <algorithm>
#include <cmath>
#include <memory>

#include "compress/parts/dead_units.h"
#include "compress/parts/mask.h"
#include "compress/parts/prunable_weights.h"
#include "compress/parts/sparsity_report.h"
#include "compress/registry.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

/// max(mu + c_rate sd, 0) of the absolute values of what is not 0.
double middle_threshold(const Tensor& weight, double c_rate) {
  double count = 0, sum = 0, squares = 0;
  const std::vector<double> w = weight.to_vector();
  for (const double x : w) {
    if (x == 0) continue;
    count += 1;
    sum += std::abs(x);
  }
  if (count == 0) return 0;
  const double mu = sum / count;
  for (const double x : w) {
    if (x != 0) squares += (std::abs(x) - mu) * (std::abs(x) - mu);
  }
  return std::max(0.0, mu + c_rate * std::sqrt(squares / count));
}

/// The mask after one look at the weights.
Tensor surgery(const Tensor& weight, const Tensor& mask, double a, double b) {
  const Tensor size = add(relu(weight), relu(negate(weight)));
  const Tensor stays = multiply(mask, at_least(size, a));
  return at_least(add(stays, at_least(size, b)), 1);
}

/// The threshold c of each layer: a buffer, since it cannot be measured again on resume.
class Thresholds final : public Module {
 public:
  explicit Thresholds(int64_t layers)
      : c_(add("c", Parameter({layers}, Init::zeros(), /*is_buffer=*/true))) {}
  void set(const std::vector<double>& c) {
    c_.set(from_values({static_cast<int64_t>(c.size())}, c));
  }
  std::vector<double> values() const { return c_.value().to_vector(); }

 private:
  Parameter c_;
};

class Dns final : public Method {
 public:
  explicit Dns(Recipe& r)
      : choice_(read_weight_choice(r)),
        c_rate_(r.reals("c_rate", {1.0}, {},
                        "thresholds, in standard deviations above the mean; one, or one for each "
                        "entry of layers")),
        low_(r.real("low", 0.9, above(0), "of c: below it a weight is pruned")),
        high_(r.real("high", 1.1, above(0), "of c: from there on it is spliced back")),
        gamma_(r.real("gamma", 1e-4, at_least(0), "how fast updates of the masks become rare")),
        power_(r.real("power", 1, at_least(0), "the exponent of that")),
        update_share_(r.real("update_share", 0.67, in(0, 1),
                             "share of the steps after which masks stay as they are")) {
    if (c_rate_.size() != 1 && c_rate_.size() != choice_.layers.size()) {
      r.fail("c_rate", str("expected one number, or one per entry of layers (",
                           choice_.layers.size(), "), got ", c_rate_.size()));
    }
    if (low_ > high_) r.fail("low", str("expected at most high (", high_, "), got ", low_));
    key_ = str(r.where("layers"), ": ", r.address());
    c_rate_key_ = str(r.where("c_rate"), ": ", r.address(), ".c_rate");
  }

  void state(Archive& archive) override { archive("pruned", pruned_)("spliced", spliced_); }

  void attach(Run& run) override {
    weights_ = prunable_weights(run.net(), choice_, key_);
    masks_ = std::make_shared<WeightMasks>(parameters_of(weights_), WeightMasks::Form::kElements);
    thresholds_ = std::make_shared<Thresholds>(static_cast<int64_t>(weights_.size()));
    WeightMasks::join(run, "masks", masks_);
    run.add_module("thresholds", thresholds_);
    for (const WeightMasks::Entry& e : masks_->entries()) {
      run.transform_weight(e.parameter, Slot::kMask,
                           WeightMasks::transform(e, WeightMasks::Gradient::kStraightThrough));
      draws_.push_back(run.random(str("update.", e.parameter.path())));
    }
  }

  void start(Run& run) override {
    std::vector<double> c;
    for (const PrunableWeight& w : weights_) {
      c.push_back(middle_threshold(w.weight.value(), c_rate_of(w)));
      const Tensor& value = w.weight.value();
      if (sum(surgery(value, ones_like(value), low_ * c.back(), high_ * c.back())).item() == 0) {
        throw RecipeError(str(c_rate_key_, ": ", c_rate_of(w), " would prune every weight of ",
                              w.layer, " in phase ", run.phase()));
      }
    }
    thresholds_->set(c);
  }

  void before_forward(Run&, const Pass& pass) override {
    // A second micro-batch of a step finds the same weights and changes nothing.
    if (!pass.is_training || pass.progress >= update_share_) return;
    const double probability = std::pow(1 + gamma_ * static_cast<double>(pass.step), -power_);
    const std::vector<double> c = thresholds_->values();
    for (size_t l = 0; l < weights_.size(); ++l) {
      if (draws_[l].uniform(pass.step, 0, 0) >= probability) continue;
      Parameter mask = masks_->entries()[l].mask;
      const Tensor before = mask.value();
      const Tensor after = surgery(weights_[l].weight.value(), before, low_ * c[l], high_ * c[l]);
      const auto both = std::llround(sum(multiply(before, after)).item()),
                 had = std::llround(sum(before).item()), has = std::llround(sum(after).item());
      if (has == 0) continue;
      now_pruned_ += had - both;
      now_spliced_ += has - both;
      mask.set(after);
    }
  }

  void after_update(Step& step) override {
    step.run().log("pruned", static_cast<double>(now_pruned_));
    step.run().log("spliced", static_cast<double>(now_spliced_));
    pruned_ += now_pruned_;
    spliced_ += now_spliced_;
    now_pruned_ = now_spliced_ = 0;
    if (step.ends_epoch())
      step.run().log("zeros_percent", 100.0 * static_cast<double>(masks_->zeros()) /
                                          static_cast<double>(masks_->size()));
  }

  void finish(Run& run) override {
    masks_->apply();
    report_sparsity(run, weights_);
    run.report("surgery", str(pruned_, " weights pruned, ", spliced_, " spliced back"));
    report_dead_units(run, remove_dead_units(run));
  }

 private:
  double c_rate_of(const PrunableWeight& w) const {
    return c_rate_.size() == 1 ? c_rate_.front() : c_rate_[static_cast<size_t>(w.glob)];
  }

  WeightChoice choice_;
  std::vector<double> c_rate_;
  double low_, high_, gamma_, power_, update_share_;
  std::string key_, c_rate_key_;  // places of the recipe, for errors

  std::vector<PrunableWeight> weights_;
  std::shared_ptr<WeightMasks> masks_;
  std::shared_ptr<Thresholds> thresholds_;
  std::vector<Random> draws_;                 // by layer
  int64_t pruned_ = 0, spliced_ = 0;          // before this step
  int64_t now_pruned_ = 0, now_spliced_ = 0;  // in this step
};

const Registered<Dns> registered("dns", "arXiv:1608.04493",
                                 "weights are pruned and spliced back while training",
                                 ResultKind::kFileOnly);

}  // namespace
}  // namespace vtrain
