// Teacher Assistant Knowledge Distillation. Mirzadeh, Farajtabar, Li, Levine, Matsukawa,
// Ghasemzadeh, "Improved Knowledge Distillation via Teacher Assistant", AAAI 2020,
// arXiv:1902.03393.
//
// Where a teacher is much larger than its student, networks of sizes in between are distilled one
// after the other. Each hop is a phase of the recipe and learns from the hop before alone:
//   L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T))
// What this adds to ordinary distillation is the chain: a hop goes down in size, and `candidates`
// in place of `teacher` chooses the assistant, as the paper found best: the one whose accuracy is
// nearest to the mean of the teacher's and the student's.
//
// The authors' code averages the KL over all N K elements, which is `reduction: element`.
#include <cmath>
#include <limits>

#include "autograd/arithmetic.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"

namespace vtrain {
namespace {

class Takd final : public Method {
 public:
  explicit Takd(Recipe& r)
      : teacher_(r.text("teacher", "", "the hop before: a phase or a file")),
        soft_{.temperature =
                  r.real("temperature", 5, above(0), "T, divides the logits of both networks")},
        alpha_(r.real("alpha", 0.5, in(0, 1),
                      "weight of the teacher's classes; labels have the rest")),
        averages_elements_(r.choice("reduction", "batch", {"batch", "element"},
                                    "element: the KL is averaged over classes too") == "element"),
        place_(str(r.where("teacher"), ": ", r.address())) {
    Recipe candidates =
        r.section("candidates", "in place of teacher: top-1 in percent of assistants, by phase");
    const auto teacher_top1 = r.maybe_real("teacher_top1", in(0, 100),
                                           "of the first teacher; with candidates"),
               student_top1 = r.maybe_real("student_top1", in(0, 100),
                                           "of the student alone; with candidates");
    const bool has_candidates = !candidates.keys().empty();
    if (has_candidates == !teacher_.empty())
      r.fail("teacher", "expected either teacher or candidates");
    for (const auto& [key, top1] :
         {std::pair{"teacher_top1", teacher_top1}, std::pair{"student_top1", student_top1}}) {
      if (has_candidates != top1.has_value())
        r.fail(key, has_candidates ? "missing; candidates are chosen by it"
                                   : "has a meaning with candidates only");
    }
    if (has_candidates) teacher_ = nearest_to(candidates, (*teacher_top1 + *student_top1) / 2);
  }

  void attach(Run& run) override {
    teach_ = &run.teacher(teacher_);
    Network &from = teach_->network(), &to = run.net();
    if (from.parameter_count() < to.parameter_count())
      throw RecipeError(str(place_, ": expected a hop to a smaller network, got ", teacher_, " (",
                            description_of(from), ") for ", description_of(to)));
  }

  void loss(Step& step) override {
    weigh_task(step, 1 - alpha_);
    const double share =
        averages_elements_ ? alpha_ / static_cast<double>(step.run().classes()) : alpha_;
    if (alpha_ > 0)
      step.add_loss("soft", share * soft_target_loss(teach_->logits(), step.logits(), soft_));
  }

  void finish(Run& run) override {
    run.report("teacher", str(teacher_, " (", description_of(teach_->network()), ")"));
  }

 private:
  /// The candidate whose accuracy is nearest to `middle`; of two the one written first.
  static std::string nearest_to(Recipe& candidates, double middle) {
    std::string best;
    double least = std::numeric_limits<double>::infinity();
    for (const std::string& name : candidates.keys()) {
      const double distance = std::abs(candidates.real(name, 0, in(0, 100)) - middle);
      if (distance < least) {
        least = distance;
        best = name;
      }
    }
    return best;
  }

  std::string teacher_;
  SoftTargets soft_;
  double alpha_;
  bool averages_elements_;
  std::string place_;  // of the recipe section, for errors
  Teacher* teach_ = nullptr;
};

const Registered<Takd> registered("takd", "arXiv:1902.03393",
                                  "distillation in hops over assistants of sizes in between",
                                  ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
