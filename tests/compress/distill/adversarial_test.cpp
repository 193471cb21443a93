// Adversarial distillation, doi:10.1609/aaai.v32i1.11667: who is moved by which loss, one test per
// knob, resume, misuse. The losses are tested in parts/discriminator_test.cpp.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <set>

#include "compress/parts/feature.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("adversarial",
                           "{teacher: large, at: features.2, hidden: 8, warm_d_epochs: 0}",
                           "{teacher: dense, at: blocks.0, hidden: 8, warm_d_epochs: 0}");

using doctest::Approx;
using Values = std::map<std::string, std::vector<double>>;

std::string compress(const std::string& knobs) {
  return "{adversarial: {teacher: dense, " + knobs + "}}";
}

/// 32 pooled features of the student and 64 of the teacher.
const std::string kPool = "at: pool, warm_d_epochs: 0";

TestPhase phase_of(const std::string& knobs, const std::vector<std::string>& more = {}) {
  return TestPhase(compress(knobs), student_and_teacher(more));
}

Values values_of(TestPhase& phase) {
  Values all;
  for (const Parameter& p : phase->state().parameters()) all[p.path()] = p.value().to_vector();
  return all;
}

/// Which of "student", "adapter", "discriminator" and its "adam" have moved.
std::set<std::string> moved(const Values& before, const Values& after) {
  const std::string helper = "compress.adversarial.";
  std::set<std::string> who;
  for (const auto& [path, values] : after) {
    if (values == before.at(path)) continue;
    who.insert(path.starts_with(helper)
                   ? path.substr(helper.size(), path.find('.', helper.size()) - helper.size())
                   : "student");
  }
  return who;
}

/// A logged mean of the first step; features are the same for all knobs.
double first(const std::string& knobs, const std::string& name) {
  TestPhase phase = phase_of(knobs);
  phase.steps(1);
  return phase.mean("adversarial." + name);
}

/// The student's own values after three steps under `methods`.
Values student_after(const std::string& methods, const std::vector<std::string>& more = {}) {
  TestPhase phase(methods, student_and_teacher(more));
  phase.steps(3);
  Values all;
  for (const auto& [path, tensor] : phase->network().state()) all[path] = tensor.to_vector();
  return all;
}

TEST_CASE("adversarial: with gamma 0 the student trains as without a method, bit for bit") {
  const Values plain = student_after("{}");
  CHECK(student_after(compress(kPool + ", gamma: 0")) == plain);
  CHECK(student_after(compress(kPool)) != plain);
  // The discriminator's gradient does not count in the norm that is clipped.
  const std::vector<std::string> clipped{"+phases.sparse.optim.clip_grad=0.01"};
  CHECK(student_after(compress(kPool + ", gamma: 0"), clipped) == student_after("{}", clipped));
  CHECK(student_after("{}", clipped) != plain);
  TestPhase phase = phase_of(kPool + ", gamma: 0");
  const Values before = values_of(phase);
  phase.steps(1);
  CHECK(moved(before, values_of(phase)) ==
        std::set<std::string>{"adam", "discriminator", "student"});
}

// That its loss does not reach the student is the test above.
TEST_CASE("adversarial: the student's loss moves the adapter and not the discriminator") {
  const auto who = [&](const std::string& knobs, int64_t step) {
    TestPhase phase = phase_of("at: pool, " + knobs);
    phase.steps(1);
    phase->step_in_epoch = step;
    const Values before = values_of(phase);
    phase.steps(1);
    return moved(before, values_of(phase));
  };
  CHECK(who("warm_d_epochs: 1", 2) == std::set<std::string>{"adam", "discriminator", "student"});
  CHECK(who("warm_d_epochs: 0, d_every: 2", 3) == std::set<std::string>{"adapter", "student"});
  CHECK(who("warm_d_epochs: 0, d_every: 2", 4) ==
        std::set<std::string>{"adam", "adapter", "discriminator", "student"});
}

TEST_CASE("adversarial: a student with the teacher's features costs the discriminator 2 log 2") {
  // In front of the first normalisation, which would tell training from evaluation.
  TestPhase phase(compress("at: conv1, adapter: none"),
                  {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=resnet8_28"});
  phase.steps(1);
  CHECK(phase.mean("adversarial.discriminator") >= 2 * std::log(2.0));
  CHECK(phase.mean("adversarial.accuracy") == 0.5);
}

TEST_CASE("adversarial: the terms are what the discriminator's logits cost, in one sum") {
  TestPhase phase = phase_of(kPool + ", gamma: 0.5");
  phase.steps(1);
  CHECK(phase.mean("loss") == Approx(phase.mean("task") + phase.mean("adversarial.discriminator") +
                                     phase.mean("adversarial.student"))
                                  .epsilon(1e-6));
}

TEST_CASE("adversarial: gamma scales the student's term, form is the other form of it") {
  const double one = first(kPool + ", gamma: 1", "student");
  CHECK(one > 0);
  CHECK(first(kPool + ", gamma: 3", "student") == Approx(3 * one).epsilon(1e-6));
  CHECK(first(kPool, "student") == Approx(0.1 * one).epsilon(1e-6));
  // Of softplus with a minus before it; the values are tested in parts/discriminator_test.cpp.
  CHECK(first(kPool + ", gamma: 1, form: minimax", "student") < 0);
}

TEST_CASE("adversarial: d_every counts the discriminator's moves") {
  const auto moves = [](const std::string& knobs) {
    TestPhase phase = phase_of(kPool + knobs);
    phase.steps(6);
    return values_of(phase).at("compress.adversarial.adam.updates");
  };
  CHECK(moves("") == std::vector<double>{6});
  CHECK(moves(", d_every: 2") == std::vector<double>{3});
  CHECK(moves(", d_every: 4") == std::vector<double>{2});  // steps 0 and 4
}

TEST_CASE("adversarial: d_lr is the discriminator's first step, whatever the student's rate") {
  // The first step of Adam is the learning rate, up to eps.
  const auto step = [](const std::string& knobs, const std::string& lr) {
    TestPhase phase = phase_of(kPool + knobs, {"optim.lr=" + lr});
    const std::string path = "compress.adversarial.discriminator.2.bias";
    const double before = values_of(phase).at(path)[0];
    phase.steps(1);
    return std::abs(values_of(phase).at(path)[0] - before);
  };
  CHECK(step("", "0.01") == Approx(2e-4).epsilon(1e-3));
  CHECK(step("", "0.1") == Approx(2e-4).epsilon(1e-3));
  CHECK(step(", d_lr: 0.003", "0.01") == Approx(0.003).epsilon(1e-3));
}

TEST_CASE("adversarial: in the first warm_d_epochs the student has no term") {
  const auto has_term = [](const std::string& knobs, int64_t epoch) {
    TestPhase phase = phase_of("at: pool" + knobs, {"phases.sparse.train.epochs=4"});
    phase->epoch = epoch;
    phase.steps(1);
    CHECK(phase.mean("adversarial.discriminator") > 0);
    return !std::isnan(phase.mean("adversarial.student"));
  };
  CHECK(has_term(", warm_d_epochs: 0", 0));
  CHECK(!has_term(", warm_d_epochs: 2", 1));
  CHECK(has_term(", warm_d_epochs: 2", 2));
  CHECK(!has_term("", 0));  // 1 by default
  CHECK(has_term("", 1));
}

TEST_CASE("adversarial: helpers have the sizes that hidden, at and adapter ask for") {
  const auto sizes = [](TestPhase phase) {
    std::map<std::string, Shape> all;
    for (const auto& [path, helper] : phase->state().helpers) {
      for (const Parameter& p : helper->parameters()) {
        if (p.path().ends_with(".weight"))
          all[p.path().substr(std::string("compress.adversarial.").size())] = p.value().shape();
      }
    }
    return all;
  };
  CHECK(sizes(phase_of(kPool)) ==
        std::map<std::string, Shape>{{"adapter.weight", {64, 32}},
                                     {"discriminator.0.weight", {128, 64}},
                                     {"discriminator.1.weight", {64, 128}},
                                     {"discriminator.2.weight", {1, 64}}});
  CHECK(sizes(phase_of("at: layer2.0, teacher_at: features.6, hidden: [5]")) ==
        std::map<std::string, Shape>{{"adapter.weight", {32, 16}},
                                     {"discriminator.0.weight", {5, 32}},
                                     {"discriminator.1.weight", {1, 5}}});
  CHECK(sizes(phase_of("at: layer3.0, teacher_at: features.6, adapter: none, hidden: [5]")) ==
        std::map<std::string, Shape>{{"discriminator.0.weight", {5, 32}},
                                     {"discriminator.1.weight", {1, 5}}});
  CHECK(sizes(phase_of("on: logits, hidden: [5]")) ==
        std::map<std::string, Shape>{{"discriminator.0.weight", {5, 10}},
                                     {"discriminator.1.weight", {1, 5}}});
}

TEST_CASE("adversarial: on logits the temperature softens what the discriminator sees") {
  const std::string logits = "on: logits, warm_d_epochs: 0";
  const double at_1 = first(logits, "discriminator");
  CHECK(first(logits + ", temperature: 1", "discriminator") == at_1);
  CHECK(first(logits + ", temperature: 4", "discriminator") != at_1);
  // Where nothing is left of the logits, both are the same: 1/K.
  CHECK(first(logits + ", temperature: 1.0e+6", "discriminator") >= 2 * std::log(2.0) - 1e-5);
}

/// The mean accuracy of the discriminator in the last epoch of a short training.
double accuracy_after(const std::string& knobs) {
  TestPhase phase = phase_of("at: pool, warm_d_epochs: 2, hidden: [16], d_lr: 0.01, " + knobs,
                             {"optim.lr=0.05", "phases.sparse.train.epochs=8"});
  for (int epoch = 0; epoch < 8; ++epoch) {
    phase->epoch = epoch;
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  return phase.mean("adversarial.accuracy");
}

TEST_CASE("adversarial: the discriminator learns to tell, and a student that fights is told less") {
  const double alone = accuracy_after("gamma: 0");
  CHECK(alone > 0.9);
  CHECK(accuracy_after("gamma: 3") < alone - 0.1);
}

TEST_CASE("adversarial: finish leaves the plain student") {
  TestPhase phase = phase_of(kPool);
  phase.steps(1);
  phase->finish();
  Network plain({.model = "resnet8_28", .options = {}, .parts = {}});
  CHECK(phase->network().state().size() == plain.state().size());
  CHECK(phase->network().hooks().empty());
  CHECK(!phase->network().architecture().is_changed());
  CHECK(phase->state().report == std::vector<std::pair<std::string, std::string>>{
                                     {"teacher", "vgg_bn_28, 61226 parameters"}});
}

TEST_CASE("adversarial: a second device gives the bits of the CPU") {
  check_same_on_both_devices(compress(kPool));
  check_same_on_both_devices(compress("on: logits, warm_d_epochs: 0, form: minimax"));
}

TEST_CASE(
    "adversarial: a run killed while D learns alone or while both learn ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_28_adversarial.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.model.name=vgg_bn_28",
       "phases.teacher.train.epochs=1", "phases.student.train.epochs=2",
       "phases.student.compress.adversarial.d_every=3"},
      {21, 38}, {"teacher.safetensors", "student.safetensors"});
}

TEST_CASE("adversarial: misuse is refused before the first batch, with the place") {
  const auto refuses = [](const std::string& knobs, const std::string& message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(phase_of(knobs), doctest::Contains(message.c_str()), RecipeError);
  };
  refuses("gamma: 1", "compress.adversarial.at: missing; expected a module's path");
  refuses("at: layer2.9", "adversarial.at: resnet8_28 has no module layer2.9; did you mean");
  refuses("at: layer2.0", "adversarial.teacher_at: vgg_bn_28 has no module layer2.0");
  refuses("at: pool, adapter: none",
          "adversarial.adapter: none: expected equal widths, got 32 at pool and 64 at pool");
  refuses("at: pool, hidden: [0]", "adversarial.hidden");
  refuses("at: pool, temperature: 2", "adversarial.temperature: unknown key");
  refuses("on: logits, at: pool", "adversarial.at: unknown key");
  refuses("at: pool, warm_d_epochs: 2",
          "adversarial.warm_d_epochs: expected fewer than the 2 of the phase, or gamma: 0");
  refuses("at: pool, d_every: 0", "adversarial.d_every: expected");
  CHECK_THROWS_WITH_AS(TestPhase("{adversarial: {at: pool}}", student_and_teacher()),
                       doctest::Contains("compress.adversarial.teacher: missing"), RecipeError);
}

TEST_CASE("adversarial: without an adapter a cut of the feature's channels is refused") {
  TestPhase phase(compress("at: features.2, adapter: none"),
                  {"phases.dense.model.name=vgg_bn_28", "phases.sparse.model.name=vgg_bn_28"});
  const auto [path, axis] = feature_at(phase->network(), "features.2").cut_with;
  const Parameter weight = phase->network().parameter(path);
  CHECK_THROWS_WITH_AS(phase->state().follow_cut(weight, axis, {0, 1, 2}),
                       doctest::Contains("adversarial.adapter: none: expected equal widths, but "
                                         "another method cuts channels of features.2"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
