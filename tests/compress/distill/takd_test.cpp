// Distillation over assistants, arXiv:1902.03393: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/process.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("takd", "{teacher: large}", "{teacher: large}");

using doctest::Approx;

TEST_CASE("takd: alpha weighs labels against the teacher's classes, T and the reduction as given") {
  const auto outcome = [](const std::string& knobs) {
    return step_of("takd", knobs, reference_logits());
  };
  const double soft = 2.6099395;  // at T = 4
  CHECK(outcome("temperature: 4, alpha: 0.3").total ==
        Approx(0.7 * 2.1328452 + 0.3 * soft).epsilon(1e-6));
  CHECK(outcome("temperature: 1, alpha: 1").total == Approx(1.7310267).epsilon(1e-6));
  CHECK(outcome("alpha: 0").total == Approx(2.1328452).epsilon(1e-6));
  // The authors' mean over all elements: a K-th.
  CHECK(outcome("temperature: 4, reduction: element").terms.at("soft") ==
        Approx(0.5 * soft / 3).epsilon(1e-6));
}

TEST_CASE("takd: a chain without assistants is ordinary distillation, bit for bit") {
  check_same_updates("{takd: {teacher: dense, alpha: 0.5, temperature: 5}}",
                     "{kd: {teacher: dense, alpha: 0.5, temperature: 5}}", student_and_teacher());
}

/// Whose classes the phase `sparse` learns when it chooses.
std::string chosen(const std::string& knobs) {
  TestPhase phase("{takd: {" + knobs + "}}", student_and_teacher());
  return phase->state().teachers.begin()->first;
}

TEST_CASE("takd: the candidate nearest to the mean of teacher and student is the assistant") {
  const TemporaryFolder folder;
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  network.save(folder / "large");
  const std::string large = folder / "large",
                    both = "candidates: {dense: 86.5, '" + large + "': 88.5}, ";
  CHECK(chosen(both + "teacher_top1: 89, student_top1: 84") == "dense");  // 86.5
  CHECK(chosen(both + "teacher_top1: 89, student_top1: 87.5") == large);  // 88.25
  CHECK(chosen(both + "teacher_top1: 91, student_top1: 84") == "dense");  // 87.5, as near to both
}

TEST_CASE("takd: an assistant that learned labels alone teaches as a plainly trained one") {
  const TemporaryFolder folder;
  const auto student = [&](const std::string& out, const std::string& change) {
    const ProcessResult run = run_vtrain(
        {"recipes/vgg14_takd.yaml", "data.name=synthetic", "phases.assistant.data.limit=32",
         "phases.student.data.limit=32", "data.batch_size=8", "phases.teacher.data.limit=32",
         "phases.teacher.train.epochs=1", "phases.assistant.train.epochs=1",
         "phases.student.train.epochs=1", "threads=2", "--quiet", "out.dir=" + (folder / out),
         change});
    REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
    return file_content((only_run(folder / out) / "student.safetensors").string());
  };
  const std::string plain = student("plain", "phases.assistant.compress=null");
  CHECK(student("alpha_0", "phases.assistant.compress.takd.alpha=0") == plain);
  CHECK(student("alpha_1", "phases.assistant.compress.takd.alpha=1") != plain);
  // A hop's knobs reach that hop alone.
  CHECK(student("hot", "phases.student.compress.takd.temperature=9") !=
        student("same", "phases.student.compress.takd.temperature=2"));
}

TEST_CASE("takd: a short training brings a hop's classes to those of the hop before") {
  TestPhase phase("{takd: {teacher: dense, alpha: 1}}", student_and_teacher({"optim.lr=0.05"}));
  phase.steps(4);
  const double first = phase.mean("takd.soft");
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  CHECK(phase.mean("takd.soft") < 0.5 * first);
  phase->finish();
  CHECK(phase->state().report == std::vector<std::pair<std::string, std::string>>{
                                     {"teacher", "dense (vgg_bn_28, 61226 parameters)"}});
}

TEST_CASE("takd: a second device gives the bits of the CPU") {
  check_same_on_both_devices("{takd: {teacher: dense}}");
}

TEST_CASE("takd: a run killed in the assistant's and the student's hop ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/vgg14_takd.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.data.limit=64",
       "phases.teacher.train.epochs=1", "phases.assistant.data.limit=64",
       "phases.assistant.train.epochs=1", "phases.student.train.epochs=1"},
      {19, 37}, {"assistant.safetensors", "student.safetensors"});
}

TEST_CASE("takd: misuse is refused before the first batch, with the place") {
  const auto phase = [](const std::string& knobs) {
    return TestPhase("{takd: {" + knobs + "}}", student_and_teacher());
  };
  CHECK_THROWS_WITH_AS(phase("alpha: 0.5"),
                       doctest::Contains("takd.teacher: expected either teacher or candidates"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, candidates: {dense: 80}"),
                       doctest::Contains("expected either teacher or candidates"), RecipeError);
  CHECK_THROWS_WITH_AS(phase("candidates: {dense: 80}, teacher_top1: 90"),
                       doctest::Contains("takd.student_top1: missing"), RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, teacher_top1: 90"),
                       doctest::Contains("teacher_top1: has a meaning with candidates only"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase("teacher: dense, alpha: 2"), doctest::Contains("in [0, 1]"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(
      TestPhase("{takd: {teacher: dense}}",
                {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=vgg_bn_28",
                 "~phases.sparse.from"}),
      doctest::Contains(
          "compress.takd: expected a hop to a smaller network, got dense (resnet8_28"),
      RecipeError);
  const TemporaryFolder folder;
  Network other({.model = "vgg_bn_28", .options = {.num_classes = 7}, .parts = {}});
  other.save(folder / "other.safetensors");
  CHECK_THROWS_WITH_AS(phase("teacher: " + (folder / "other.safetensors")),
                       doctest::Contains("computes 7 classes, the data has 10"), RecipeError);
}

}  // namespace
}  // namespace vtrain
