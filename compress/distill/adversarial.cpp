// Adversarial learning of portable students. Wang, Xu, Xu, Tao, "Adversarial Learning of Portable
// Student Networks", AAAI 2018, doi:10.1609/aaai.v32i1.11667.
//
// No distance between features is chosen; it is learned. A discriminator D tells the teacher's
// features from the student's, and the student learns to be taken for the teacher:
//   h_t = mean over positions of the teacher's feature            (N, C_t)
//   h_s = A (mean over positions of the student's) + a            (N, C_t), A and a the adapter
//   L_D = mean softplus(-D(h_t)) + mean softplus(D(h_s))          moves D alone
//   L   = CE + gamma L_adv    (CE alone in the first warm_d_epochs)    moves student and adapter
//   L_adv = mean softplus(-D(h_s))                                non_saturating
//         = -mean softplus(D(h_s))                                minimax: the game's own form
// `on: logits`: h = softmax(z / T) of both, without an adapter.
//
// Both losses are terms of one step and of one backward pass, which two stops keep apart: in L_D
// the student's features are constants, in L_adv the weights of D. So D and student move at once,
// each from where the other stood. D moves by an Adam of its own (betas 0.5 and 0.999, no weight
// decay) at a fixed rate: as part of the student's SGD with momentum the game ran away.
//
// The abstract fixes the game; sizes, weights and rates are ours. D that is always right teaches
// little: watch adversarial.accuracy, which should stay below 1. A large gamma can lose the labels:
// with 1 a resnet8_28 of ours ended at chance. Other distillation goes beside this: add `kd`.
#include <memory>

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "compress/parts/discriminator.h"
#include "compress/parts/feature.h"
#include "compress/parts/helper_adam.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

/// (N, C) in f32: the mean over positions of maps (N, C, H, W) or tokens (N, L, C).
Variable mean_over_positions(const Variable& x) {
  Variable h = x;
  if (x.ndim() == 4) h = mean(x, {2, 3});
  if (x.ndim() == 3) h = mean(x, {1});
  return cast(h, wide_of(h.value().dtype()));
}

int64_t channels_of(const Feature& feature) {
  return feature.shape.size() == 4 ? feature.shape[1] : feature.shape.back();
}

class Adversarial final : public Method {
 public:
  explicit Adversarial(Recipe& r)
      : teacher_(r.required_text("teacher", "a phase, a file, or self")),
        is_on_features_(r.choice("on", "features", {"features", "logits"},
                                 "what the discriminator sees") == "features"),
        gamma_(r.real("gamma", 0.1, at_least(0), "weight of being taken for the teacher")),
        form_(r.choice("form", "non_saturating", {"non_saturating", "minimax"},
                       "the student's loss where the discriminator is sure: steep or flat") ==
                      "minimax"
                  ? AdversarialForm::kMinimax
                  : AdversarialForm::kNonSaturating),
        hidden_(r.integers("hidden", {128, 64}, at_least(1),
                           "widths of the discriminator's hidden layers")),
        d_every_(r.integer("d_every", 1, at_least(1), "steps between moves of the discriminator")),
        d_lr_(r.real("d_lr", 2e-4, above(0), "learning rate of the discriminator")),
        warm_d_epochs_(r.integer("warm_d_epochs", 1, at_least(0),
                                 "epochs in which the discriminator learns alone")),
        place_(str(r.where("teacher"), ": ", r.address())) {
    if (!is_on_features_) {
      temperature_ = r.real("temperature", 1, above(0), "T, divides the logits of both networks");
      return;
    }
    at_ = r.text("at", "", "module of the student whose output is seen");
    teacher_at_ = r.text("teacher_at", at_, "module of the teacher; by default of the same name");
    has_adapter_ = r.choice("adapter", "linear", {"linear", "none"},
                            "between the student's feature and the discriminator; none: equal "
                            "widths") == "linear";
    if (at_.empty()) r.fail("at", "missing; expected a module's path");
  }

  void attach(Run& run) override {
    if (gamma_ > 0 && warm_d_epochs_ >= run.epochs())
      throw RecipeError(str(place_, ".warm_d_epochs: expected fewer than the ", run.epochs(),
                            " of the phase, or gamma: 0: the student would learn nothing, got ",
                            warm_d_epochs_));
    teach_ = &run.teacher(teacher_);
    const int64_t width = is_on_features_ ? attach_features(run) : run.classes();
    discriminator_ = std::make_shared<Discriminator>(width, hidden_);
    run.add_module("discriminator", discriminator_);
    adam_ = std::make_shared<HelperAdam>(discriminator_->parameters(),
                                         HelperAdamOptions{.lr = d_lr_, .beta1 = 0.5});
    run.add_module("adam", adam_);
  }

  void loss(Step& step) override {
    const Pass& pass = step.pass();
    const Variable h_t = teacher_feature(), h_s = student_feature(step);
    if (pass.step % d_every_ == 0) {
      const Pass trained = loss_pass(pass, HelperWeights::kTrained);
      const Variable of_teacher = (*discriminator_)(h_t, trained),
                     of_student = (*discriminator_)(h_s.detach(), trained);
      step.add_loss("discriminator", discriminator_loss(of_teacher, of_student));
      step.run().log("accuracy", discriminator_accuracy(of_teacher.value(), of_student.value()));
    }
    if (gamma_ > 0 && pass.epoch >= warm_d_epochs_) {
      const Variable of_student = (*discriminator_)(h_s, loss_pass(pass, HelperWeights::kConstant));
      step.add_loss("student", gamma_ * deception_loss(of_student, form_));
    }
  }

  void after_backward(Step&) override { adam_->step(); }

  void finish(Run& run) override { run.report("teacher", description_of(teach_->network())); }

 private:
  /// Taps both networks and puts the adapter between; what width the discriminator sees.
  int64_t attach_features(Run& run) {
    const Feature student = feature_at(run.net(), at_, place_ + ".at"),
                  teacher = feature_at(teach_->network(), teacher_at_, place_ + ".teacher_at");
    const int64_t from = channels_of(student), to = channels_of(teacher);
    if (has_adapter_) {
      adapter_ = std::make_shared<Linear>(from, to);
      run.add_module("adapter", adapter_);
    } else if (from != to) {
      throw RecipeError(str(place_, ".adapter: none: expected equal widths, got ", from, " at ",
                            at_, " and ", to, " at ", teacher_at_));
    }
    follow_cuts(run, student);
    seen_ = run.tap(student.place);
    teacher_place_ = teacher.place;
    teach_->watch(teacher_place_);
    return to;
  }

  /// Another method may cut the channels that the adapter reads.
  void follow_cuts(Run& run, const Feature& student) {
    run.follow_cuts([this, &run, with = student.cut_with](const Parameter& p, int axis,
                                                          const std::vector<int64_t>& keep) {
      if (p.path() != with.first || axis != with.second) return;
      if (!adapter_) {
        throw RecipeError(str(place_,
                              ".adapter: none: expected equal widths, but another method cuts "
                              "channels of ",
                              at_));
      }
      run.cut(adapter_->parameters().front(), 1, keep);
    });
  }

  Variable teacher_feature() {
    if (!is_on_features_) return softmax(Variable(teach_->logits()) / temperature_, 1);
    return mean_over_positions(teach_->value(teacher_place_));
  }

  Variable student_feature(const Step& step) {
    if (!is_on_features_) return softmax(step.logits() / temperature_, 1);
    const Variable h = mean_over_positions(seen_.value());
    return adapter_ ? (*adapter_)(h, loss_pass(step.pass(), HelperWeights::kTrained)) : h;
  }

  std::string teacher_;
  bool is_on_features_;
  double gamma_;
  AdversarialForm form_;
  std::vector<int64_t> hidden_;
  int64_t d_every_;
  double d_lr_;
  int64_t warm_d_epochs_;
  std::string place_;  // of the recipe section, for errors
  double temperature_ = 1;
  std::string at_, teacher_at_;
  bool has_adapter_ = false;

  Teacher* teach_ = nullptr;
  std::shared_ptr<Discriminator> discriminator_;
  std::shared_ptr<HelperAdam> adam_;  // of the discriminator
  std::shared_ptr<Linear> adapter_;
  Tap seen_;
  std::string teacher_place_;
};

const Registered<Adversarial> registered("adversarial", "doi:10.1609/aaai.v32i1.11667",
                                         "a student learns to be taken for its teacher",
                                         ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
