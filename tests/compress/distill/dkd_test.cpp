// Decoupled distillation, arXiv:2203.08679: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("dkd", "{teacher: dense, warmup_epochs: 2}",
                           "{teacher: dense, warmup_epochs: 2}");

using doctest::Approx;

/// A step without a ramp.
StepOutcome outcome(const std::string& knobs, const GivenLogits& given) {
  return step_of("dkd", "warmup_epochs: 0" + (knobs.empty() ? "" : ", " + knobs), given);
}

TEST_CASE("dkd: both parts of a sample worked by hand") {
  const StepOutcome step = outcome("temperature: 1, beta: 1", reference_logits());
  CHECK(step.terms.at("label") == Approx(0.9199663).epsilon(1e-6));
  CHECK(step.terms.at("others") == Approx(2.7035345).epsilon(1e-6));
  const StepOutcome weighed =
      outcome("ce_weight: 0, temperature: 1, alpha: 1, beta: 8", reference_logits());
  CHECK(weighed.total == Approx(22.5482424).epsilon(1e-6));
}

// Section 3 of the paper: for one sample, KL = TCKD + (1 - p_y) NCKD, p_y the teacher's.
TEST_CASE("dkd: with beta = 1 - p_y of the teacher it is ordinary distillation") {
  const GivenLogits given{
      .student = {0.5, -1, 2, 0, 4}, .teacher = {1, 1.5, -0.5, 3, 2}, .labels = {3}};
  for (const double t : {1.0, 4.0}) {
    CAPTURE(t);
    const double doubt = 1 - softened(given.teacher, t)[3];
    const StepOutcome split =
        outcome(str("ce_weight: 0, alpha: 1, temperature: ", t, ", beta: ", doubt), given);
    const StepOutcome whole =
        step_of("kd", str("ce_weight: 0, kd_weight: 1, temperature: ", t), given);
    CHECK(split.total == Approx(whole.total).epsilon(1e-5));  // f32
    for (size_t k = 0; k < 5; ++k)
      CHECK(split.gradient[k] == Approx(whole.gradient[k]).epsilon(1e-4));
  }
}

TEST_CASE(
    "dkd: two classes leave nothing to say about the others; agreement leaves nothing at all") {
  const StepOutcome two = outcome("", {.student = {1, -2}, .teacher = {-1, 3}});
  CHECK(two.terms.at("others") == 0);
  CHECK(two.terms.at("label") > 0);
  const StepOutcome same = outcome("", {.student = {1, -2, 4}, .teacher = {1, -2, 4}});
  CHECK(same.terms.at("others") == 0);
  CHECK(same.terms.at("label") == 0);
}

TEST_CASE("dkd: the part about the others does not reach the label's logit") {
  const GivenLogits given{.student = {0.5, -1, 2, 0}, .teacher = {1, 1.5, -0.5, 3}, .labels = {2}};
  const StepOutcome step = outcome("ce_weight: 0, alpha: 0, beta: 3", given);
  CHECK(step.gradient[2] == 0);
  for (const size_t k : {0, 1, 3}) CHECK(std::abs(step.gradient[k]) > 0.1);
}

TEST_CASE("dkd: a teacher and a student who are certain give a finite loss, to its true value") {
  // Label 0, T = 1. Teacher: p_y = 1 but for e^-60; student: log p_y = -60, log(1 - p_y) = -e^-60.
  const StepOutcome step = outcome("ce_weight: 0, temperature: 1, beta: 1",
                                   {.student = {0, 60, 0}, .teacher = {60, 0, 0}});
  CHECK(step.terms.at("label") == Approx(60).epsilon(1e-5));
  // Others: teacher (1/2, 1/2), student (1, e^-60): log(1/2) + 30.
  CHECK(step.terms.at("others") == Approx(std::log(0.5) + 30).epsilon(1e-5));
  for (const double g : step.gradient) CHECK(std::isfinite(g));
  // Both certain of the label: what f32 loses in 1 - p_y the sum over the others keeps.
  const StepOutcome sure = outcome("ce_weight: 0, temperature: 1, beta: 1",
                                   {.student = {40, 0, 0}, .teacher = {30, 1, 0}});
  const double p = 1 / (1 + std::exp(-1.0)), q = 0.5;
  CHECK(sure.terms.at("others") ==
        Approx(p * std::log(p / q) + (1 - p) * std::log((1 - p) / q)).epsilon(1e-4));
  CHECK(sure.terms.at("label") < 1e-10);
}

TEST_CASE("dkd: a batch is the mean of its images, each with its own label") {
  const std::vector<double> s{0.5, -1, 2, 0}, t{1, 1.5, -0.5, 3};
  const StepOutcome both = outcome("", {.student = s, .teacher = t, .labels = {1, 3}}),
                    one = outcome("", {.student = s, .teacher = t, .labels = {1}}),
                    other = outcome("", {.student = s, .teacher = t, .labels = {3}});
  CHECK(one.total != Approx(other.total).epsilon(1e-2));
  CHECK(both.total == Approx((one.total + other.total) / 2).epsilon(1e-6));
}

TEST_CASE("dkd: without both parts the student trains as without a method, bit for bit") {
  check_same_updates("{dkd: {teacher: dense, alpha: 0, beta: 0}}", "{}", student_and_teacher());
}

TEST_CASE("dkd: alpha, beta and ce_weight scale their terms, temperature softens both networks") {
  const StepOutcome once = outcome("alpha: 1, beta: 1", reference_logits());
  CHECK(outcome("alpha: 3, beta: 1", reference_logits()).terms.at("label") ==
        Approx(3 * once.terms.at("label")).epsilon(1e-6));
  CHECK(outcome("alpha: 1, beta: 5", reference_logits()).terms.at("others") ==
        Approx(5 * once.terms.at("others")).epsilon(1e-6));
  CHECK(outcome("ce_weight: 0.5", reference_logits()).task ==
        Approx(0.5 * 2.1328452).epsilon(1e-6));
  // T = 4: 16 KL((p_1, p_2) / (1 - p_0)) of both, by hand.
  const GivenLogits given = reference_logits();
  std::vector<double> t = softened(given.teacher, 4), s = softened(given.student, 4);
  t = {t[1] / (1 - t[0]), t[2] / (1 - t[0])};
  s = {s[1] / (1 - s[0]), s[2] / (1 - s[0])};
  CHECK(outcome("beta: 1", given).terms.at("others") ==
        Approx(16 * plain_divergence(t, s)).epsilon(1e-5));
}

TEST_CASE("dkd: the ramp counts epochs from 1 and ends at warmup_epochs") {
  GivenLogits given = reference_logits();
  const double full = outcome("", given).terms.at("others");
  for (const auto& [epoch, share] :
       std::vector<std::pair<int64_t, double>>{{0, 0.05}, {9, 0.5}, {19, 1}, {20, 1}}) {
    CAPTURE(epoch);
    given.epoch = epoch;
    CHECK(step_of("dkd", "", given).terms.at("others") == Approx(share * full).epsilon(1e-6));
    CHECK(step_of("dkd", "warmup_epochs: 0.5", given).terms.at("others") == full);
  }
}

TEST_CASE("dkd: a short training brings both parts down") {
  TestPhase phase("{dkd: {teacher: dense, ce_weight: 0, beta: 1, warmup_epochs: 0}}",
                  student_and_teacher({"optim.lr=0.05"}));
  phase.steps(4);
  const double label = phase.mean("dkd.label"), others = phase.mean("dkd.others");
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  CHECK(phase.mean("dkd.label") < 0.7 * label);
  CHECK(phase.mean("dkd.others") < 0.7 * others);
  phase->finish();
  CHECK(!phase->network().architecture().is_changed());
}

TEST_CASE("dkd: a second device gives the bits of the CPU") {
  check_same_on_both_devices("{dkd: {teacher: dense}}");
}

TEST_CASE("dkd: a run killed inside the ramp ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/vgg14_dkd.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.data.limit=64",
       "phases.teacher.train.epochs=1", "phases.student.train.epochs=2",
       "phases.student.compress.dkd.warmup_epochs=3"},
      {22, 35}, {"student.safetensors"});
}

TEST_CASE("dkd: misuse is refused before the first batch, with the place") {
  const auto phase = [](const std::string& knobs, const std::vector<std::string>& overrides = {}) {
    return TestPhase("{dkd: {" + knobs + "}}", overrides);
  };
  CHECK_THROWS_WITH_AS(phase(""), doctest::Contains("compress.dkd.teacher: missing"), RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense", {"+aug.mixup=0.2"}),
                       doctest::Contains("compress.dkd: expected images of one class each"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, beta: -1"), doctest::Contains("at least 0"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, ce_weight: 0, alpha: 0, beta: 0"),
                       doctest::Contains("nothing would be learned"), RecipeError);
  const TemporaryFolder folder;
  Network other({.model = "resnet8_28", .options = {.num_classes = 7}, .parts = {}});
  other.save(folder / "other.safetensors");
  CHECK_THROWS_WITH_AS(phase("teacher: " + (folder / "other.safetensors")),
                       doctest::Contains("computes 7 classes, the data has 10"), RecipeError);
}

}  // namespace
}  // namespace vtrain
