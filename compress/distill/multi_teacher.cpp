// Several teachers. You, Xu, Xu, Tao, "Learning from Multiple Teacher Networks", KDD 2017,
// doi:10.1145/3097983.3098135.
//
// Teachers m of weights w_m, which add up to 1. Their softened classes are averaged, and they vote
// which of two images is nearer to a third; no adapter stands between features of different sizes:
//   p      = sum_m w_m softmax(z_m / T)                                    (N, K)
//   L_soft = T^2 KL(p || softmax(z_s / T))
//   u      = a feature of a sample, flattened and of length 1
//   v_ijk  = sum_m w_m sign(|u_m(i) - u_m(k)|^2 - |u_m(i) - u_m(j)|^2)     above 0: j is nearer
//   L_rank = mean over triplets with v != 0 of
//            max(0, delta + |u_s(i) - u_s(near)|^2 - |u_s(i) - u_s(far)|^2)
//   L      = CE + alpha L_soft + beta L_rank
// Triplets are (i, i + 1, i + 2) of the shuffled batch unless told otherwise, so a batch needs
// three images.
//
// Probabilities are averaged, not logits, which would be another loss; the mean of the teachers'
// divergences differs from L_soft by a constant and has its gradient. What the abstract fixes is
// the mean of soft outputs, triplets and voting; margins, weights and which triplets are ours.
#include <algorithm>
#include <numeric>

#include "autograd/arithmetic.h"
#include "compress/parts/feature.h"
#include "compress/parts/soft_targets.h"
#include "compress/parts/triplets.h"
#include "compress/registry.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/softmax.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

constexpr double kLeastProbability = 1e-30;  // whose logarithm is finite in f32

class MultiTeacher final : public Method {
 public:
  explicit MultiTeacher(Recipe& r)
      : teachers_(r.texts("teachers", {}, "phases, files, or self")),
        weights_(r.reals("weights", {}, at_least(0),
                         "of the teachers, relative; by default all the same")),
        soft_{.temperature =
                  r.real("temperature", 4, above(0), "T, divides the logits of all networks")},
        alpha_(r.real("alpha", 1, at_least(0), "weight of the teachers' classes")),
        beta_(r.real("beta", 1, at_least(0), "weight of the teachers' votes on triplets")),
        delta_(r.real("delta", 0.1, at_least(0), "by how much the nearer one shall be nearer")),
        at_(r.text("at", "", "module of the student whose output is ranked")),
        teacher_at_(r.texts("teacher_at", {at_},
                            "modules of the teachers, one for each or one for all; by default of "
                            "the same name")),
        triplets_(r.choice("triplets", "ring", {"ring", "random", "all"},
                           "N of neighbours in the batch, N at random, or all, which are N^3 / 2")),
        vote_(r.choice("vote", "sign", {"sign", "margin"},
                       "margin: a teacher that is sure counts more") == "sign"
                  ? Vote::kSign
                  : Vote::kMargin),
        place_(str(r.where("teachers"), ": ", r.address())) {
    if (teachers_.empty()) r.fail("teachers", "missing; expected phases, files, or self");
    for (auto at = teachers_.begin(); at != teachers_.end(); ++at) {
      if (std::find(teachers_.begin(), at, *at) != at)
        r.fail("teachers", str("names ", *at, " twice; weights give one teacher more"));
    }
    if (weights_.empty()) weights_.assign(teachers_.size(), 1);
    if (weights_.size() != teachers_.size())
      r.fail("weights", str("expected one for each of teachers (", teachers_.size(), "), got ",
                            weights_.size()));
    total_weight_ = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    if (total_weight_ == 0) r.fail("weights", "expected one above 0");
    if (beta_ > 0 && at_.empty()) r.fail("at", "missing; expected a module's path, or beta: 0");
    if (teacher_at_.size() == 1) teacher_at_.assign(teachers_.size(), teacher_at_[0]);
    if (teacher_at_.size() != teachers_.size())
      r.fail("teacher_at", str("expected one module for each of teachers (", teachers_.size(),
                               ") or one for all, got ", teacher_at_.size()));
  }

  void attach(Run& run) override {
    stream_ = run.random("triplets");
    if (alpha_ == 0 && beta_ == 0) return;
    for (size_t m = 0; m < teachers_.size(); ++m) {
      if (weights_[m] == 0) continue;
      Taught taught{.teacher = &run.teacher(teachers_[m]), .weight = weights_[m], .place = {}};
      if (beta_ > 0) {
        taught.place =
            feature_at(taught.teacher->network(), teacher_at_[m], place_ + ".teacher_at").place;
        taught.teacher->watch(taught.place);
      }
      taught_.push_back(taught);
    }
    if (beta_ > 0) ranked_ = run.tap(feature_at(run.net(), at_, place_ + ".at").place);
  }

  void loss(Step& step) override {
    if (taught_.empty()) return;
    if (alpha_ > 0)
      step.add_loss("soft", alpha_ * soft_target_loss(mean_logits(), step.logits(), soft_));
    if (beta_ > 0) rank(step);
  }

  void finish(Run& run) override {
    for (const Taught& t : taught_) run.report("teacher", description_of(t.teacher->network()));
  }

 private:
  struct Taught {
    Teacher* teacher;
    double weight;
    std::string place;
  };

  /// (N, K): logits whose softened classes are the teachers' mean; those of one teacher as they
  /// are.
  Tensor mean_logits() const {
    if (taught_.size() == 1) return taught_[0].teacher->logits();
    const double temperature = soft_.temperature;
    Tensor p;
    for (const Taught& t : taught_) {
      const Tensor softened = softmax(multiply(t.teacher->logits(), 1 / temperature), 1),
                   share = multiply(softened, t.weight / total_weight_);
      p = p.defined() ? add(p, share) : share;
    }
    return multiply(log(clamp(p, kLeastProbability, 1)), temperature);
  }

  void rank(Step& step) {
    const std::vector<Triplet> triplets = triplets_of(step);
    if (triplets.empty()) return;
    std::vector<Tensor> by_teacher;
    std::vector<double> weights;
    for (const Taught& t : taught_) {
      by_teacher.push_back(nearness(t.teacher->value(t.place), triplets).value());
      weights.push_back(t.weight);
    }
    const Tensor votes = votes_of(by_teacher, weights, vote_);
    step.add_loss("rank", beta_ * ranking_loss(nearness(ranked_.value(), triplets), votes, delta_));
  }

  std::vector<Triplet> triplets_of(const Step& step) const {
    const int64_t samples = step.batch().images.dim(0);
    if (triplets_ == "all") return all_triplets(samples);
    if (triplets_ == "ring") return ring_triplets(samples);
    return random_triplets(samples, stream_, step.pass().position());
  }

  std::vector<std::string> teachers_;
  std::vector<double> weights_;  // as given: votes of whole numbers tie exactly
  double total_weight_ = 0;
  SoftTargets soft_;
  double alpha_, beta_, delta_;
  std::string at_;
  std::vector<std::string> teacher_at_;
  std::string triplets_;
  Vote vote_;
  std::string place_;  // of the recipe section, for errors

  Random stream_{0, "", ""};
  std::vector<Taught> taught_;
  Tap ranked_;
};

const Registered<MultiTeacher> registered("multi_teacher", "doi:10.1145/3097983.3098135",
                                          "a student learns from several teachers at once",
                                          ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
