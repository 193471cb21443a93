// Several teachers, doi:10.1145/3097983.3098135: identities, one test per knob, resume, misuse. The
// ranking loss is tested in parts/triplets_test.cpp.
#include <doctest/doctest.h>

#include <cmath>

#include "compress/parts/soft_targets.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("multi_teacher",
                           "{teachers: [dense, large], at: features.2, triplets: random}",
                           "{teachers: [dense, large], weights: [2, 1], at: blocks.0}");

using doctest::Approx;

std::string compress(const std::string& knobs) { return "{multi_teacher: {" + knobs + "}}"; }

TestPhase phase_of(const std::string& knobs, const std::vector<std::string>& more = {}) {
  return TestPhase(compress(knobs), student_and_teacher(more));
}

/// Two networks that both are there, with features of 14 x 14 in their middle.
const std::string kTwo =
    "teachers: [dense, self], at: layer2.0, teacher_at: [features.6, layer2.0]";

/// A mean of the first step; features are the same for all knobs.
double first(const std::string& knobs, const std::string& name) {
  TestPhase phase = phase_of(knobs);
  phase.steps(1);
  return phase.mean("multi_teacher." + name);
}

/// Three logits, and none of seven more classes.
std::vector<double> of_ten(std::vector<double> logits) {
  logits.resize(10, -1000);
  return logits;
}

/// The loss where every network says the same of all images.
struct Sayings {
  std::vector<std::vector<double>> teachers;
  std::vector<double> student;
};
double soft_loss(const Sayings& said, const std::string& knobs) {
  const TemporaryFolder folder;
  std::string files;
  for (size_t m = 0; m < said.teachers.size(); ++m) {
    Network network({.model = "resnet8_28", .options = {}, .parts = {}});
    network.parameter("linear.bias").set(from_values({10}, of_ten(said.teachers[m])));
    const std::string file = folder / str(m, ".safetensors");
    network.save(file);
    files += (files.empty() ? "" : ", ") + file;
  }
  TestPhase phase = phase_of("beta: 0, teachers: [" + files + "]" + knobs);
  phase->network().parameter("linear.weight").set(zeros({10, 32}));
  phase->network().parameter("linear.bias").set(from_values({10}, of_ten(said.student)));
  phase.steps(1);
  return phase.mean("multi_teacher.soft");
}

const Sayings kReference{.teachers = {{2, 0, 0}, {0, 2, 0}}, .student = {1, 0, -1}};

/// The same in plain loops: T^2 KL of the weighted mean of softened classes.
double plain_loss(const Sayings& said, const std::vector<double>& weights, double temperature) {
  std::vector<double> p(3, 0);
  for (size_t m = 0; m < said.teachers.size(); ++m) {
    const std::vector<double> one = softened(said.teachers[m], temperature);
    for (size_t k = 0; k < 3; ++k) p[k] += weights[m] * one[k];
  }
  return temperature * temperature * plain_divergence(p, softened(said.student, temperature));
}

TEST_CASE("multi_teacher: probabilities are averaged: neither logits nor divergences are") {
  const double loss = soft_loss(kReference, ", temperature: 2");
  CHECK(loss == Approx(0.1058704).epsilon(1e-5));
  // Of averaged logits it would be 0.1216949, the mean of both divergences is 0.4555920.
  const Sayings of_logits{.teachers = {{1, 1, 0}}, .student = {1, 0, -1}};
  CHECK(soft_loss(of_logits, ", temperature: 2") == Approx(0.1216949).epsilon(1e-5));
}

TEST_CASE("multi_teacher: temperature, alpha and weights are those of the formula") {
  CHECK(soft_loss(kReference, "") == Approx(plain_loss(kReference, {0.5, 0.5}, 4)).epsilon(1e-4));
  CHECK(soft_loss(kReference, ", temperature: 1") ==
        Approx(plain_loss(kReference, {0.5, 0.5}, 1)).epsilon(1e-5));
  CHECK(soft_loss(kReference, ", temperature: 2, alpha: 3") == Approx(3 * 0.1058704).epsilon(1e-5));
  CHECK(soft_loss(kReference, ", temperature: 2, weights: [1, 3]") ==
        Approx(plain_loss(kReference, {0.25, 0.75}, 2)).epsilon(1e-5));
}

TEST_CASE("multi_teacher: teachers that agree are as one of them") {
  const Sayings one{.teachers = {{2, 0, 1}}, .student = {1, 0, -1}},
      three{.teachers = {{2, 0, 1}, {2, 0, 1}, {2, 0, 1}}, .student = {1, 0, -1}};
  CHECK(soft_loss(three, "") == Approx(soft_loss(one, "")).epsilon(1e-5));
}

TEST_CASE("multi_teacher: a teacher that rules out a class gives a finite loss") {
  const Sayings sure{.teachers = {{500, 0, 0}, {400, 0, 0}}, .student = {0, 0, 1}};
  CHECK(soft_loss(sure, ", temperature: 1") ==
        Approx(plain_divergence({1, 0, 0}, softened({0, 0, 1}))).epsilon(1e-5));
}

TEST_CASE("multi_teacher: one teacher without triplets is ordinary distillation, bit for bit") {
  check_same_updates(compress("teachers: dense, beta: 0, temperature: 2"),
                     "{kd: {teacher: dense, temperature: 2, ce_weight: 1, kd_weight: 1}}",
                     student_and_teacher());
}

TEST_CASE("multi_teacher: a teacher without weight is not loaded and changes nothing") {
  check_same_updates(
      compress("teachers: [dense, self], weights: [2, 0], at: layer2.0, teacher_at: [features.6, "
               "layer2.0]"),
      compress("teachers: dense, at: layer2.0, teacher_at: features.6"), student_and_teacher());
  TestPhase phase = phase_of("teachers: [dense, self], weights: [2, 0], beta: 0");
  CHECK(phase->state().teachers.contains("dense"));
  CHECK(!phase->state().teachers.contains("self"));
}

TEST_CASE("multi_teacher: without alpha and beta the student trains plainly, bit for bit") {
  check_same_updates(compress("teachers: [dense, self], alpha: 0, beta: 0"), "{}",
                     student_and_teacher());
}

TEST_CASE("multi_teacher: a student with its teacher's features ranks as it does") {
  // In front of the first normalisation, which would tell training from evaluation.
  TestPhase phase(compress("teachers: dense, at: conv1, delta: 0, triplets: all"),
                  {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=resnet8_28"});
  phase.steps(1);
  CHECK(phase.mean("multi_teacher.rank") == 0);
}

TEST_CASE("multi_teacher: beta scales the ranking; at and teacher_at reach it alone") {
  const double rank = first(kTwo, "rank");
  CHECK(rank > 0);
  CHECK(first(kTwo + ", beta: 3", "rank") == Approx(3 * rank).epsilon(1e-6));
  const std::string other =
      "teachers: [dense, self], at: layer1.0, teacher_at: [features.2, "
      "layer2.0]";
  CHECK(first(other, "rank") != Approx(rank).epsilon(1e-3));
  CHECK(first(other, "soft") == first(kTwo, "soft"));
  // One name for all, or none: that of the student's.
  CHECK(first("teachers: [dense, self], at: pool", "rank") ==
        first("teachers: [dense, self], at: pool, teacher_at: [pool, pool]", "rank"));
}

TEST_CASE("multi_teacher: delta shifts every triplet that falls short") {
  // Squared distances of unit vectors differ by 4 at most: beyond that all fall short.
  const double five = first(kTwo + ", delta: 5", "rank"), six = first(kTwo + ", delta: 6", "rank");
  CHECK(six - five == Approx(1).epsilon(1e-5));
  CHECK(first(kTwo + ", delta: 0", "rank") < first(kTwo, "rank"));
  CHECK(first(kTwo + ", delta: 0.1", "rank") == first(kTwo, "rank"));
}

TEST_CASE("multi_teacher: triplets are those of the ring, drawn, or all") {
  const double ring = first(kTwo, "rank"), drawn = first(kTwo + ", triplets: random", "rank"),
               all = first(kTwo + ", triplets: all", "rank");
  CHECK(first(kTwo + ", triplets: ring", "rank") == ring);
  CHECK(drawn != ring);
  CHECK(all != ring);
  CHECK(drawn != all);
  CHECK(first(kTwo + ", triplets: random", "rank") == drawn);
}

TEST_CASE("multi_teacher: votes count by margin where that is asked for") {
  // Two equal votes of different margins cancel by sign alone: those triplets are dropped.
  const std::string all = kTwo + ", triplets: all, delta: 5";
  CHECK(first(all + ", vote: sign", "rank") == first(all, "rank"));
  CHECK(first(all + ", vote: margin", "rank") != first(all, "rank"));
  const std::string one = "teachers: dense, at: layer2.0, teacher_at: features.6";
  CHECK(first(one + ", vote: margin", "rank") == first(one, "rank"));
}

TEST_CASE("multi_teacher: a short training brings classes and ranks nearer to the teachers'") {
  const auto left = [](const std::string& knobs, const std::string& name, double weight) {
    TestPhase phase =
        phase_of(str("teachers: dense, at: pool, ", knobs, ": ", weight), {"optim.lr=0.02"});
    for (int epoch = 0; epoch < 6; ++epoch) {
      phase->step_in_epoch = 0;
      phase->means.clear();
      phase.steps(8);
    }
    return phase.mean("multi_teacher." + name) / weight;
  };
  CHECK(left("beta: 0, alpha", "soft", 5) < 0.5 * left("beta: 0, alpha", "soft", 1e-3));
  CHECK(left("alpha: 0, beta", "rank", 50) < 0.7 * left("alpha: 0, beta", "rank", 1e-3));
}

TEST_CASE("multi_teacher: finish leaves the plain student and says who taught") {
  TestPhase phase = phase_of(kTwo);
  phase.steps(1);
  phase->finish();
  CHECK(phase->network().hooks().empty());
  CHECK(!phase->network().architecture().is_changed());
  CHECK(phase->state().helpers.empty());
  CHECK(phase->state().report == std::vector<std::pair<std::string, std::string>>{
                                     {"teacher", "vgg_bn_28, 61226 parameters"},
                                     {"teacher", description_of(phase->network())}});
}

TEST_CASE("multi_teacher: a second device gives the bits of the CPU") {
  check_same_on_both_devices(compress(kTwo + ", triplets: random"));
  check_same_on_both_devices(compress(kTwo + ", vote: margin, alpha: 0"));
}

TEST_CASE(
    "multi_teacher: a run killed under the first teacher and under the student ends in the same "
    "bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_28_multi_teacher.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.deep.model.name=resnet8_28",
       "phases.deep.train.epochs=1", "phases.plain.train.epochs=1", "phases.student.train.epochs=2",
       str("phases.student.compress.multi_teacher={teachers: [deep, plain], at: layer2.0, ",
           "teacher_at: [layer2.0, features.6], triplets: random}")},
      {9, 41}, {"deep.safetensors", "plain.safetensors", "student.safetensors"});
}

TEST_CASE("multi_teacher: misuse is refused before the first batch, with the place") {
  const auto refuses = [](const std::string& knobs, const std::string& message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(phase_of(knobs), doctest::Contains(message.c_str()), RecipeError);
  };
  refuses("at: pool", "compress.multi_teacher.teachers: missing; expected phases, files, or self");
  refuses("at: pool, teachers: [dense, nobody]", "teacher: expected an earlier phase");
  refuses("at: pool, teachers: [dense, dense]", "multi_teacher.teachers: names dense twice");
  refuses("teachers: dense", "multi_teacher.at: missing; expected a module's path, or beta: 0");
  refuses("at: pool, teachers: [dense, self], weights: [1]",
          "multi_teacher.weights: expected one for each of teachers (2), got 1");
  refuses("at: pool, teachers: [dense, self], weights: [0, 0]",
          "multi_teacher.weights: expected one above 0");
  refuses("at: pool, teachers: [dense, self], weights: [1, -1]", "multi_teacher.weights");
  refuses("at: pool, teachers: dense, teacher_at: [pool, pool]",
          "multi_teacher.teacher_at: expected one module for each of teachers (1) or one for all, "
          "got 2");
  refuses("at: layer2.9, teachers: self, teacher_at: pool",
          "multi_teacher.at: resnet8_28 has no module layer2.9; did you mean layer2.0?");
  refuses("at: layer2.0, teachers: dense",
          "multi_teacher.teacher_at: vgg_bn_28 has no module layer2.0");

  const TemporaryFolder folder;
  Network other({.model = "resnet8_28", .options = {.num_classes = 7}, .parts = {}});
  other.save(folder / "other.safetensors");
  refuses("at: pool, teachers: [dense, " + (folder / "other.safetensors") + "]",
          "computes 7 classes, the data has 10");
}

}  // namespace
}  // namespace vtrain
