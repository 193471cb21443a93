// FitNets: Hints for Thin Deep Nets. Romero, Ballas, Ebrahimi Kahou, Chassang, Gatta, Bengio, ICLR
// 2015, arXiv:1412.6550.
//
// First the lower part of the student learns, through a regressor r that is thrown away, to predict
// a middle layer of the teacher; then the whole student learns labels and the teacher's classes:
//   hint stage:    L = 1/2 mean (u_h - r(v_g))^2
//                  u_h (N, C_h, H_h, W_h) of the teacher, v_g (N, C_g, H_g, W_g) of the student
//   student stage: L = CE + lambda(e) KL(p_t || p_s), both softened by T
//                  epochs e counted from 0, s = decay_from, S = decay_to:
//   lambda(e) = lambda_start                                                         e < s
//             = lambda_start - (lambda_start - lambda_end) (e - s + 1) / (S - s + 1) s <= e < S
//             = lambda_end                                                           S <= e
//
// The first `hint_epochs` of the phase are the hint stage. A recipe that wants another optimizer or
// schedule for each stage writes two phases, the first all hint (hint_epochs: its epochs), the
// second `from` it with hint_epochs 0. Within one phase the optimizer keeps its state at the
// switch. In the hint stage what lies behind the guided module is frozen, statistics of batch
// normalisation included. It is still computed, though nothing reads it.
//
// `mode: joint` is RepDistiller's: L = CE + feat_weight mean (u_h - r(v_g))^2 all along.
//
// Where we differ from the paper: squared distances are averaged, not summed, over a sample's
// elements; the hint stage has a fixed length instead of early stopping; the soft term is a KL, the
// paper's cross entropy less a constant; the regressor normalises, as RepDistiller's does, unless
// told otherwise. The authors' code has no T^2, hence scale_t2: false.
#include <algorithm>
#include <optional>

#include "autograd/arithmetic.h"
#include "autograd/losses.h"
#include "autograd/shape.h"
#include "compress/parts/feature.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

class FitNets final : public Method {
 public:
  explicit FitNets(Recipe& r)
      : teacher_(r.required_text("teacher", "a phase, a file, or self")),
        is_joint_(r.choice("mode", "two_stage", {"two_stage", "joint"},
                           "first hints and then classes, or labels and hints together") ==
                  "joint"),
        guided_(r.text("guided", "", "module of the student whose output learns")),
        hint_(r.text("hint", "", "module of the teacher whose output it learns")),
        regressor_kind_(r.choice("regressor", "conv_bn", {"conv_bn", "conv", "none"},
                                 "what makes the two comparable; none: equal shapes")) {
    if (is_joint_) {
      feat_weight_ = r.real("feat_weight", 100, at_least(0), "weight of the hint");
    } else {
      hint_epochs_ = r.integer("hint_epochs", 30, at_least(0), "epochs of the hint stage");
      soft_ = {.temperature =
                   r.real("temperature", 3, above(0), "T, divides the logits of both networks"),
               .scales_t2 = r.flag("scale_t2", false, "multiply the soft term by T^2")};
      lambda_start_ = r.real("lambda_start", 4, at_least(0), "weight of the teacher's classes");
      lambda_end_ = r.real("lambda_end", 1, at_least(0), "what it falls to");
      decay_from_ = r.integer("decay_from", 5, at_least(0), "epoch of the student stage");
      decay_to_ = r.maybe_integer("decay_to", at_least(0), "null: the last epoch");
      if (decay_to_ && *decay_to_ < decay_from_)
        r.fail("decay_to", str("expected at least decay_from, ", decay_from_));
      guided_lr_scale_ = r.real("guided_lr_scale", 1, above(0),
                                "learning rate of what the hint trained, in the student stage");
    }
    for (const auto& [key, module] : {std::pair{"guided", guided_}, std::pair{"hint", hint_}}) {
      if (has_hint() && module.empty()) r.fail(key, "missing; expected a module's path");
    }
    if (guided_lr_scale_ != 1 && guided_.empty())
      r.fail("guided", "missing; expected a module's path, for guided_lr_scale");
    place_ = str(r.where("teacher"), ": ", r.address());
  }

  void attach(Run& run) override {
    last_epoch_ = run.epochs() - hint_epochs_ - 1;
    teach_ = &run.teacher(teacher_);
    if (!guided_.empty()) divide(run);
    if (!has_hint()) return;
    const Feature from = feature_at(run.net(), guided_, place_ + ".guided"),
                  to = feature_at(teach_->network(), hint_, place_ + ".hint");
    if (regressor_kind_ != "none") {
      try {
        regressor_ = std::make_shared<FeatureRegressor>(
            from.shape, to.shape,
            RegressorOptions{.has_batch_norm = regressor_kind_ == "conv_bn",
                             .has_relu = to.is_rectified});
      } catch (const Error& error) {
        throw RecipeError(
            str(place_, ".guided: ", guided_, " cannot learn ", hint_, ": ", error.what()));
      }
      run.add_module("regressor", regressor_);
    } else if (from.shape != to.shape) {
      throw RecipeError(str(place_, ".regressor: none: expected equal shapes, got ", from.shape,
                            " at ", guided_, " and ", to.shape, " at ", hint_));
    }
    follow_cuts(run, from);
    learner_ = run.tap(from.place);
    target_ = to.place;
    teach_->watch(target_);
  }

  void before_forward(Run&, const Pass& pass) override {
    if (!pass.is_training) return;
    for (const Parameter& p : behind_) p.freeze(is_hint_stage(pass));
    if (!guided_.empty()) below_.set_lr_scale(is_hint_stage(pass) ? 1 : guided_lr_scale_);
  }

  void loss(Step& step) override {
    if (is_joint_) {
      step.add_loss("hint", feat_weight_ * distance(step.pass()));
    } else if (is_hint_stage(step.pass())) {
      const Variable hint = 0.5 * distance(step.pass());
      step.set_task(hint);
      step.run().log("hint", hint.value().item());
    } else {
      const double weight = lambda(step.pass().epoch - hint_epochs_);
      step.run().log("lambda", weight);
      if (weight > 0)
        step.add_loss("soft", weight * soft_target_loss(teach_->logits(), step.logits(), soft_));
    }
  }

  void finish(Run& run) override {
    run.report("teacher", description_of(teach_->network()));
    if (has_hint()) run.report("hint", str(guided_, " learned ", hint_));
  }

 private:
  bool has_hint() const { return is_joint_ || hint_epochs_ > 0; }
  bool is_hint_stage(const Pass& pass) const { return pass.epoch < hint_epochs_; }

  double lambda(int64_t epoch) const {
    const int64_t from = decay_from_, to = decay_to_.value_or(std::max(last_epoch_, from));
    if (epoch < from) return lambda_start_;
    if (epoch >= to) return lambda_end_;
    const double share = static_cast<double>(epoch - from + 1) / static_cast<double>(to - from + 1);
    return std::max(0.0, lambda_start_ - (lambda_start_ - lambda_end_) * share);
  }

  /// Another method may cut the channels that are learned from.
  void follow_cuts(Run& run, const Feature& from) {
    run.follow_cuts([this, &run, with = from.cut_with](const Parameter& p, int axis,
                                                       const std::vector<int64_t>& keep) {
      if (p.path() != with.first || axis != with.second) return;
      if (!regressor_) {
        throw RecipeError(str(place_,
                              ".regressor: none: expected equal shapes, but another method ",
                              "cuts channels of ", guided_));
      }
      run.cut(regressor_->weight(), 1, keep);
    });
  }

  /// Divides the student's parameters into what the guided module is computed from and the rest.
  void divide(Run& run) {
    const Feature from = feature_at(run.net(), guided_, place_ + ".guided");
    ParameterGroup below{.name = "guided", .parameters = {}};
    for (const Parameter& p : run.net().parameters()) {
      if (from.parameters.contains(p.path())) {
        below.parameters.push_back(p);
      } else if (!p.is_frozen()) {  // by another method, for the whole phase
        behind_.push_back(p);
      }
    }
    if (behind_.empty())
      throw RecipeError(str(place_, ".guided: expected a module in the middle, got ", guided_,
                            ", behind which nothing is trained"));
    below_ = run.add_group(std::move(below));
  }

  /// (): mean (u_h - r(v_g))^2, in f32.
  Variable distance(const Pass& pass) {
    const Variable v = regressor_ ? (*regressor_)(learner_.value(), pass) : learner_.value();
    const Tensor& u = teach_->value(target_);
    if (v.value().shape() != u.shape()) {  // tokens that another method takes away in training
      throw RecipeError(
          str(place_, ".guided: ", guided_, " gives ", v.value().shape(), " in training, ", hint_,
              " of the teacher ", u.shape(),
              "; does another method of the phase change how many tokens there are?"));
    }
    return mean_squared_error(cast(v, DType::f32), Variable(u));
  }

  std::string teacher_;
  bool is_joint_;
  std::string guided_, hint_, regressor_kind_;
  double feat_weight_ = 0;
  int64_t hint_epochs_ = 0;
  SoftTargets soft_;
  double lambda_start_ = 0, lambda_end_ = 0;
  int64_t decay_from_ = 0;
  std::optional<int64_t> decay_to_;
  double guided_lr_scale_ = 1;
  std::string place_;  // of the recipe section, for errors

  int64_t last_epoch_ = 0;  // of the student stage
  Teacher* teach_ = nullptr;
  std::shared_ptr<FeatureRegressor> regressor_;
  Tap learner_;
  std::string target_;
  Group below_;                    // what the hint trains
  std::vector<Parameter> behind_;  // the rest
};

const Registered<FitNets> registered("fitnets", "arXiv:1412.6550",
                                     "a student's middle layer first learns a teacher's",
                                     ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
