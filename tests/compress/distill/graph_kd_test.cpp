// Graph distillation, arXiv:1911.03080, and relational distillation, arXiv:1904.05068: identities,
// one test per knob, resume, misuse. The formulas are tested in parts/relations_test.cpp.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("graph_kd", "{teacher: dense, at: [features.2, pool], power: 2}",
                           "{teacher: dense, at: [blocks.0, norm], relation: rkd}");

using doctest::Approx;

std::string compress(const std::string& knobs) {
  return "{graph_kd: {teacher: dense, " + knobs + "}}";
}

/// The student's middle, 16 maps of 14 x 14, and the teacher's second convolution, 32 of them.
const std::string kPair = "at: layer2.0, teacher_at: features.6";

TestPhase phase_of(const std::string& knobs, const std::vector<std::string>& more = {}) {
  return TestPhase(compress(knobs), student_and_teacher(more));
}

/// The first step's term under these knobs; the features are the same for all.
double term(const std::string& knobs, const std::string& name = "graph") {
  TestPhase phase = phase_of(knobs);
  phase.steps(1);
  return phase.mean("graph_kd." + name);
}

TEST_CASE("graph_kd: a student that has the teacher's features loses nothing") {
  // In front of the first normalisation, which would tell training from evaluation.
  for (const char* const knobs :
       {"at: conv1, edges: absolute_cosine", "at: conv1, relation: rkd"}) {
    CAPTURE(knobs);
    TestPhase phase(compress(knobs),
                    {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=resnet8_28"});
    phase.steps(1);
    for (const char* const name : {"graph_kd.graph", "graph_kd.distance", "graph_kd.angle"}) {
      // Absent terms have no mean.
      CHECK(!(std::abs(phase.mean(name)) > 1e-10));
    }
    CHECK(phase.mean("loss") == Approx(phase.mean("task")));
  }
}

TEST_CASE("graph_kd: without weight the student trains as without a method, bit for bit") {
  check_same_updates(compress(kPair + ", weight: 0"), "{}", student_and_teacher());
  check_same_updates(compress(kPair + ", relation: rkd, distance_weight: 0, angle_weight: 0"), "{}",
                     student_and_teacher());
}

TEST_CASE("graph_kd: weights scale their terms") {
  const double graph = term(kPair + ", weight: 1");
  CHECK(graph > 0);
  CHECK(term(kPair + ", weight: 3") == Approx(3 * graph).epsilon(1e-6));
  CHECK(term(kPair) == Approx(25 * graph).epsilon(1e-6));
  const std::string rkd = kPair + ", relation: rkd", one = ", distance_weight: 1, angle_weight: 1";
  const double distance = term(rkd + one, "distance"), angle = term(rkd + one, "angle");
  CHECK(distance > 0);
  CHECK(angle > 0);
  CHECK(term(rkd, "distance") == Approx(25 * distance).epsilon(1e-6));
  CHECK(term(rkd, "angle") == Approx(50 * angle).epsilon(1e-6));
  TestPhase phase = phase_of(rkd + one);
  phase.steps(1);
  CHECK(phase.mean("loss") == Approx(phase.mean("task") + distance + angle).epsilon(1e-6));
}

TEST_CASE("graph_kd: several features count by their mean, each beside its teacher's") {
  const double middle = term(kPair), pooled = term("at: pool");
  CHECK(term("at: [layer2.0, pool], teacher_at: [features.6, pool]") ==
        Approx((middle + pooled) / 2).epsilon(1e-5));
  CHECK(term("at: layer2.0, teacher_at: features.2") != Approx(middle).epsilon(1e-3));
  // Names alone: teacher_at is at.
  CHECK(term("at: pool, teacher_at: pool") == pooled);
}

TEST_CASE("graph_kd: power compares paths of other lengths") {
  CHECK(term(kPair + ", power: 1") == term(kPair));
  CHECK(term(kPair + ", power: 2") != Approx(term(kPair)).epsilon(1e-3));
}

TEST_CASE("graph_kd: pairs of one class and of two make up all; neighbours leave out pairs") {
  const double all = term(kPair);
  const double intra = term(kPair + ", pairs: intra"), inter = term(kPair + ", pairs: inter");
  CHECK(intra > 0);
  CHECK(inter > 0);
  CHECK(intra + inter == Approx(all).epsilon(1e-5));
  CHECK(term(kPair + ", neighbours: 8") == all);  // of 8 images
  const double near = term(kPair + ", neighbours: 1");
  CHECK(near > 0);
  CHECK(near < 0.9 * all);
  CHECK(term(kPair + ", neighbours: 1, pairs: intra") +
            term(kPair + ", neighbours: 1, pairs: inter") ==
        Approx(near).epsilon(1e-5));
}

TEST_CASE("graph_kd: absolute edges are the same where features are nowhere below 0") {
  CHECK(term(kPair + ", edges: absolute_cosine") == term(kPair));
  CHECK(term("at: linear, teacher_at: classifier, edges: absolute_cosine") > 0);
}

/// How far a feature's geometry is from the teacher's at the end of a short training.
double left(const std::string& relation, const std::string& name, double weight) {
  TestPhase phase = phase_of(str("at: pool, ", relation, ": ", weight), {"optim.lr=0.02"});
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  return phase.mean("graph_kd." + name) / weight;
}

TEST_CASE("graph_kd: a short training brings geometry nearer to the teacher's than labels alone") {
  CHECK(left("weight", "graph", 500) < 0.5 * left("weight", "graph", 1e-3));
  const std::string distance = "relation: rkd, angle_weight: 0, distance_weight",
                    angle = "relation: rkd, distance_weight: 0, angle_weight";
  CHECK(left(distance, "distance", 25) < 0.5 * left(distance, "distance", 1e-3));
  CHECK(left(angle, "angle", 50) < 0.5 * left(angle, "angle", 1e-3));
}

TEST_CASE("graph_kd: finish leaves the plain student") {
  TestPhase phase = phase_of(kPair);
  phase.steps(1);
  phase->finish();
  CHECK(phase->network().hooks().empty());
  CHECK(!phase->network().architecture().is_changed());
  CHECK(phase->state().helpers.empty());
  CHECK(phase->state().report == std::vector<std::pair<std::string, std::string>>{
                                     {"teacher", "vgg_bn_28, 61226 parameters"}});
}

TEST_CASE("graph_kd: a second device gives the bits of the CPU") {
  check_same_on_both_devices(compress(kPair + ", power: 2, neighbours: 3, pairs: inter"));
  check_same_on_both_devices(compress("at: pool, relation: rkd"));
}

TEST_CASE(
    "graph_kd: a run killed while the teacher and while the student learn ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_28_graph_kd.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.model.name=vgg_bn_28",
       "phases.teacher.train.epochs=1", "phases.student.train.epochs=2",
       str("phases.student.compress.graph_kd={teacher: teacher, at: [layer2.0, pool], ",
           "teacher_at: [features.6, pool]}")},
      {9, 23}, {"student.safetensors"});
}

TEST_CASE("graph_kd: misuse is refused before the first batch, with the place") {
  const auto refuses = [](const std::string& knobs, const std::string& message,
                          const std::vector<std::string>& more = {}) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(phase_of(knobs, more), doctest::Contains(message.c_str()), RecipeError);
  };
  refuses("weight: 1", "compress.graph_kd.at: missing; expected paths of modules");
  refuses("at: [pool, layer2.0], teacher_at: [pool]",
          "graph_kd.teacher_at: expected one module for each of at (2), got 1");
  refuses("at: layer2.9", "graph_kd.at: resnet8_28 has no module layer2.9; did you mean layer2.0?");
  refuses("at: layer2.0", "graph_kd.teacher_at: vgg_bn_28 has no module layer2.0");
  refuses("at: linear, teacher_at: classifier",
          "graph_kd.at: linear of resnet8_28 can be below 0; expected the output of a ReLU");
  refuses("at: pool, teacher_at: classifier",
          "graph_kd.teacher_at: classifier of vgg_bn_28 can be");
  refuses(kPair + ", power: 9", "graph_kd.power: expected an integer in [1, 8], got 9");
  refuses(kPair + ", neighbours: 0", "graph_kd.neighbours: expected");
  refuses(kPair + ", relation: rkd, power: 2", "graph_kd.power: unknown key");
  refuses(kPair + ", pairs: intra",
          "expected images of one class each, got aug.mixup or aug.cutmix",
          {"+phases.sparse.aug.mixup=0.2"});
}

}  // namespace
}  // namespace vtrain
