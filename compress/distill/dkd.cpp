// Decoupled Knowledge Distillation. Zhao, Cui, Song, Qiu, Liang, CVPR 2022, arXiv:2203.08679.
//
// The divergence of ordinary distillation splits exactly into a part about the label's class and
// one about the others, which it weighs with the teacher's doubt 1 - p_y. Here the two are weighed
// freely:
//   b = (p_y, 1 - p_y)                (N, 2)         p = softmax(z / T), y the label
//   q_k = p_k / (1 - p_y), k != y     (N, K - 1)
//   L = ce_weight CE + ramp T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s))
//   ramp = min(epoch / warmup_epochs, 1), epochs counted from 1
//
// The authors' code hides class y by subtracting 1000 from its logit, and 1 - p_y loses all digits
// where p_y is near 1; here the class is left out, and log(1 - p_y) is the log of a sum over the
// others. Mixed images have no single y and are refused. A ramp over 0 epochs is 1.
#include <algorithm>

#include "autograd/arithmetic.h"
#include "autograd/indexing.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"
#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

/// Log-probabilities of the two parts.
struct Decoupled {
  Variable label;   // (N, 2): log p_y and log(1 - p_y)
  Variable others;  // (N, K - 1): log q
};

/// (N, 1): log of the sum of exp(x) along classes.
Variable log_sum_exp(const Variable& x) {
  const Variable largest(top_k(x.value(), 1, 1).values);  // a constant: it cancels
  return largest + log(sum(exp(x - largest), {1}, /*keep_dims=*/true));
}

/// logits (N, K), already divided by T; labels (N) i32.
Decoupled decoupled(const Variable& logits, const Tensor& labels) {
  const int64_t classes = logits.dim(1);
  const Variable log_p = log_softmax(logits, 1);
  // Sorted by "is the label", equal ones in their order: the first K - 1 are the other classes.
  const Variable others(
      top_k(one_hot(labels, classes), classes - 1, 1, SortOrder::kAscending).indices);
  const Variable log_p_y = gather(log_p, 1, Variable(labels.reshape({-1, 1})));
  return {.label = concat({log_p_y, log_sum_exp(gather(log_p, 1, others))}, 1),
          .others = log_softmax(gather(logits, 1, others), 1)};
}

/// (): KL(t || s) of log-probabilities (N, C), summed over classes, averaged over the batch.
Variable divergence(const Variable& log_t, const Variable& log_s) {
  return mean(sum(exp(log_t) * (log_t - log_s), {1}));
}

class Dkd final : public Method {
 public:
  explicit Dkd(Recipe& r)
      : teacher_(r.required_text("teacher", "a phase, a file, or self")),
        ce_weight_(r.real("ce_weight", 1, at_least(0), "weight of the labels")),
        alpha_(r.real("alpha", 1, at_least(0), "weight of the label's class")),
        beta_(r.real("beta", 8, at_least(0), "weight of the other classes")),
        temperature_(r.real("temperature", 4, above(0), "T, divides the logits of both networks")),
        warmup_epochs_(
            r.real("warmup_epochs", 20, at_least(0), "epochs until both weights are reached")),
        place_(str(r.where("teacher"), ": ", r.address())) {
    if (ce_weight_ == 0 && alpha_ == 0 && beta_ == 0)
      r.fail("alpha", "expected above 0 where ce_weight and beta are 0: nothing would be learned");
  }

  void attach(Run& run) override {
    if (alpha_ == 0 && beta_ == 0) return;
    if (run.mixes_images())
      throw RecipeError(str(place_,
                            ": expected images of one class each, got aug.mixup or "
                            "aug.cutmix in phase ",
                            run.phase()));
    teach_ = &run.teacher(teacher_);
  }

  void loss(Step& step) override {
    weigh_task(step, ce_weight_);
    if (teach_ == nullptr) return;
    const Tensor& labels = step.batch().labels;
    const Decoupled t = decoupled(Variable(teach_->logits()) / temperature_, labels),
                    s = decoupled(step.logits() / temperature_, labels);
    const double scale = ramp(step.pass().epoch) * temperature_ * temperature_;
    if (alpha_ > 0) step.add_loss("label", (scale * alpha_) * divergence(t.label, s.label));
    if (beta_ > 0) step.add_loss("others", (scale * beta_) * divergence(t.others, s.others));
  }

  void finish(Run& run) override {
    if (teach_ != nullptr) run.report("teacher", description_of(teach_->network()));
  }

 private:
  double ramp(int64_t epoch) const {
    if (warmup_epochs_ == 0) return 1;
    return std::min(static_cast<double>(epoch + 1) / warmup_epochs_, 1.0);
  }

  std::string teacher_;
  double ce_weight_, alpha_, beta_, temperature_, warmup_epochs_;
  std::string place_;  // of the recipe section, for errors
  Teacher* teach_ = nullptr;
};

const Registered<Dkd> registered("dkd", "arXiv:2203.08679",
                                 "distillation that weighs the label's class and the others apart",
                                 ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
