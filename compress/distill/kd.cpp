// Knowledge distillation. Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network",
// NIPS 2014 Deep Learning Workshop, arXiv:1503.02531.
//
// The student learns the labels and the teacher's softened classes, whose small entries tell which
// wrong answers are less wrong:
//   L = ce_weight CE(z_s, y) + kd_weight T^2 KL(softmax(z_t / T) || softmax(z_s / T))
// Labels are learned at T = 1.
//
// The paper writes the soft term as a cross entropy, which is the KL plus the teacher's entropy: a
// constant, so gradients agree and curves do not. Weights are those of the CIFAR recipes of
// RepDistiller and mdistiller. Teachers always normalise with running statistics, and their logits
// are computed anew for every batch.
#include "autograd/arithmetic.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

class Kd final : public Method {
 public:
  explicit Kd(Recipe& r)
      : teacher_(r.required_text("teacher", "a phase, a file, or self")),
        soft_{.temperature =
                  r.real("temperature", 4, above(0), "T, divides the logits of both networks"),
              .scales_t2 = r.flag("scale_t2", true, "multiply the soft term by T^2")},
        ce_weight_(r.real("ce_weight", 0.1, at_least(0), "weight of the labels")),
        kd_weight_(r.real("kd_weight", 0.9, at_least(0), "weight of the teacher's classes")) {
    const std::optional<double> alpha =
        r.maybe_real("alpha", in(0, 1), "short for kd_weight alpha and ce_weight 1 - alpha");
    if (alpha) {
      for (const char* const key : {"ce_weight", "kd_weight"}) {
        if (r.has(key)) r.fail(key, "is what alpha stands for; expected one of the two");
      }
      ce_weight_ = 1 - *alpha;
      kd_weight_ = *alpha;
    }
    if (ce_weight_ == 0 && kd_weight_ == 0)
      r.fail("kd_weight", "expected above 0 where ce_weight is 0: nothing would be learned");
  }

  void attach(Run& run) override {
    if (kd_weight_ > 0) teach_ = &run.teacher(teacher_);
  }

  void loss(Step& step) override {
    weigh_task(step, ce_weight_);
    if (teach_ != nullptr)
      step.add_loss("soft", kd_weight_ * soft_target_loss(teach_->logits(), step.logits(), soft_));
  }

  void finish(Run& run) override {
    if (teach_ != nullptr) run.report("teacher", description_of(teach_->network()));
  }

 private:
  std::string teacher_;
  SoftTargets soft_;
  double ce_weight_, kd_weight_;
  Teacher* teach_ = nullptr;
};

const Registered<Kd> registered("kd", "arXiv:1503.02531",
                                "a student learns the softened classes of a teacher",
                                ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
