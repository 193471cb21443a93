// Knowledge distillation, arXiv:1503.02531: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/data/image_files.h"
#include "tests/train/test_phase.h"
#include "train/trainer.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("kd", "{teacher: dense}", "{teacher: dense}");

using doctest::Approx;

TEST_CASE("kd: the loss of a sample worked by hand, at temperatures 1 and 4") {
  const StepOutcome one =
      step_of("kd", "ce_weight: 1, kd_weight: 1, temperature: 1", reference_logits());
  CHECK(one.task == Approx(2.1328452).epsilon(1e-6));
  CHECK(one.terms.at("soft") == Approx(1.7310267).epsilon(1e-6));
  CHECK(one.total == Approx(2.1328452 + 1.7310267).epsilon(1e-6));
  const StepOutcome four = step_of("kd", "kd_weight: 1, temperature: 4", reference_logits());
  CHECK(four.terms.at("soft") == Approx(2.6099395).epsilon(1e-6));
}

TEST_CASE("kd: the gradient is T (p_s - p_t) for one image") {
  const GivenLogits given{.student = {0.5, -1, 2, 0}, .teacher = {1, 1.5, -0.5, 3}};
  for (const double t : {1.0, 3.0, 20.0}) {
    CAPTURE(t);
    const StepOutcome step =
        step_of("kd", str("ce_weight: 0, kd_weight: 1, temperature: ", t), given);
    const std::vector<double> p_s = softened(given.student, t), p_t = softened(given.teacher, t);
    for (size_t k = 0; k < 4; ++k)
      CHECK(step.gradient[k] == Approx(t * (p_s[k] - p_t[k])).epsilon(1e-4));
  }
}

TEST_CASE(
    "kd: a student that agrees has no loss and no gradient, whatever is added to all logits") {
  const StepOutcome step =
      step_of("kd", "ce_weight: 0, kd_weight: 1", {.student = {1, 2, -3}, .teacher = {6, 7, 2}});
  CHECK(step.terms.at("soft") == Approx(0).epsilon(1e-6));
  for (const double g : step.gradient) CHECK(std::abs(g) < 1e-6);
}

TEST_CASE("kd: a teacher without doubt is the labels") {
  const StepOutcome step = step_of("kd", "ce_weight: 1, kd_weight: 1, temperature: 1",
                                   {.student = {1, -2, 3}, .teacher = {0, 100, 0}, .labels = {1}});
  CHECK(step.terms.at("soft") == Approx(step.task).epsilon(1e-6));
}

TEST_CASE("kd: without the teacher's weight the student trains as without a method, bit for bit") {
  check_same_updates("{kd: {teacher: dense, ce_weight: 1, kd_weight: 0}}", "{}",
                     student_and_teacher());
}

TEST_CASE("kd: ce_weight, kd_weight and alpha scale their terms; scale_t2 is T^2") {
  const auto outcome = [](const std::string& knobs) {
    return step_of("kd", knobs, reference_logits());
  };
  const double soft = 2.6099395;  // at T = 4
  CHECK(outcome("ce_weight: 0.25").task == Approx(0.25 * 2.1328452).epsilon(1e-6));
  CHECK(outcome("kd_weight: 3").terms.at("soft") == Approx(3 * soft).epsilon(1e-6));
  CHECK(outcome("").total == Approx(0.1 * 2.1328452 + 0.9 * soft).epsilon(1e-6));
  CHECK(outcome("alpha: 0.3").total == Approx(0.7 * 2.1328452 + 0.3 * soft).epsilon(1e-6));
  const StepOutcome with = outcome("ce_weight: 0"),
                    without = outcome("ce_weight: 0, scale_t2: false");
  CHECK(without.terms.at("soft") == Approx(0.9 * soft / 16).epsilon(1e-6));
  for (size_t k = 0; k < 3; ++k)
    CHECK(with.gradient[k] == Approx(16 * without.gradient[k]).epsilon(1e-5));
}

TEST_CASE("kd: the teacher named is the one that teaches") {
  TestPhase self("{kd: {teacher: self}}"), dense("{kd: {teacher: dense}}");
  CHECK(self->state().teachers.contains("self"));
  CHECK(dense->state().teachers.contains("dense"));
  TestPhase none("{kd: {teacher: dense, ce_weight: 1, kd_weight: 0}}");
  CHECK(none->state().teachers.empty());  // nobody asks, nothing is loaded
}

TEST_CASE("kd: a short training brings the student's classes to the teacher's") {
  TestPhase phase("{kd: {teacher: dense, ce_weight: 0, kd_weight: 1, temperature: 2}}",
                  student_and_teacher({"optim.lr=0.05"}));
  phase.steps(4);
  const double first = phase.mean("kd.soft");
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  CHECK(phase.mean("kd.soft") < 0.5 * first);
  const auto before = phase->network().state();
  phase->finish();
  CHECK(phase->network().state().size() == before.size());
  CHECK(!phase->network().architecture().is_changed());
  CHECK(phase->state().report == std::vector<std::pair<std::string, std::string>>{
                                     {"teacher", "vgg_bn_28, 61226 parameters"}});
}

TEST_CASE("kd: a second device gives the bits of the CPU") {
  check_same_on_both_devices("{kd: {teacher: dense}}");
}

TEST_CASE("kd: a run killed while the teacher and while the student learn ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/vgg14_kd.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.data.limit=64",
       "phases.teacher.train.epochs=1", "phases.student.train.epochs=2"},
      {9, 23}, {"teacher.safetensors", "student.safetensors"});
}

TEST_CASE("kd: misuse is refused before the first batch, with the place") {
  const auto phase = [](const std::string& knobs) { return TestPhase("{kd: {" + knobs + "}}"); };
  CHECK_THROWS_WITH_AS(phase(""), doctest::Contains("compress.kd.teacher: missing"), RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: nobody"),
                       doctest::Contains("phase sparse: teacher: expected an earlier phase"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, temperature: 0"), doctest::Contains("above 0"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, alpha: 0.5, ce_weight: 1"),
                       doctest::Contains("kd.ce_weight: is what alpha stands for"), RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, ce_weight: 0, kd_weight: 0"),
                       doctest::Contains("nothing would be learned"), RecipeError);

  const TemporaryFolder folder;
  Network other({.model = "resnet8_28", .options = {.num_classes = 7}, .parts = {}});
  other.save(folder / "other.safetensors");
  CHECK_THROWS_WITH_AS(phase("teacher: " + (folder / "other.safetensors")),
                       doctest::Contains("computes 7 classes, the data has 10"), RecipeError);
}

TEST_CASE("kd: a teacher of other data with other classes is refused before it is trained") {
  const TemporaryFolder root;
  for (const char* const image : {"train/ant", "train/bee", "test/ant", "test/bee"}) {
    std::filesystem::create_directories(root / image);
    put_file(root / std::string(image).append("/1.jpg"), image_text("444.jpg"));
  }
  const std::string recipe =
      "model: {name: vgg_bn_28}\n"
      "optim: {name: sgd, lr: 0.1}\n"
      "phases:\n"
      "  teacher: {data: {name: image_folder, root: " +
      root.path() +
      ", image_size: 28, batch_size: 2}}\n"
      "  student: {data: {name: synthetic}, compress: {kd: {teacher: teacher}}}\n";
  CHECK_THROWS_WITH_AS(dry_run(read_experiment(Recipe::from_text(recipe, "test"), "test")),
                       doctest::Contains("phase student: kd: teacher teacher computes 2 classes, "
                                         "the data has 10"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
