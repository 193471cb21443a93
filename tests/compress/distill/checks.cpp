#include "tests/compress/distill/checks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>

#include "compress/step.h"
#include "tensor/ops/indexing.h"
#include "tests/fake_device.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

/// resnet8_28 that says `logits` of any image.
std::unique_ptr<Network> saying(const std::vector<double>& logits) {
  const auto classes = static_cast<int64_t>(logits.size());
  auto network = std::make_unique<Network>(
      Architecture{.model = "resnet8_28", .options = {.num_classes = classes}, .parts = {}});
  network->parameter("linear.bias").set(from_values({classes}, logits));
  return network;
}

}  // namespace

StepOutcome step_of(const std::string& method, const std::string& knobs, const GivenLogits& given) {
  const Experiment experiment = read_experiment(
      Recipe::from_text(str("model: {name: resnet8_28}\n"
                            "data: {name: synthetic}\n"
                            "optim: {name: sgd, lr: 0.1}\n"
                            "compress: {",
                            method, ": {teacher: given", knobs.empty() ? "" : ", ", knobs, "}}\n"),
                        "test"),
      "test");
  const auto samples = static_cast<int64_t>(given.labels.size()),
             classes = static_cast<int64_t>(given.student.size());
  PhaseState state{.config = experiment.phases[0], .network = saying(given.student)};
  state.classes = classes;
  state.load_teacher = [&](const std::string&) { return saying(given.teacher); };
  auto methods = experiment.phases[0].methods();
  Method& tested = *methods.at(0).method;
  MethodRun run(state, method);
  tested.attach(run);

  const Tensor labels = from_values({samples}, given.labels, DType::i32);
  const Batch batch{.images = zeros({samples, 1, 28, 28}).channels_last(),
                    .labels = labels,
                    .targets = one_hot(labels, classes)};
  Pass pass;
  pass.is_training = pass.wants_grad = true;
  pass.epoch = given.epoch;
  for (const auto& [name, teacher] : state.teachers) teacher->show(batch.images);
  tested.before_forward(run, pass);
  const Outputs outputs = state.network->forward(batch.images, pass);
  StepState step{.pass = pass, .batch = batch, .outputs = outputs, .task = {}, .terms = {}};
  Step view(run, step);
  tested.loss(view);
  const Variable total = step.total();
  backward(total);

  StepOutcome outcome{.task = step.task.value().item(),
                      .total = total.value().item(),
                      .terms = {},
                      .gradient = state.network->parameter("linear.bias").grad().to_vector()};
  for (const auto& [name, term] : step.terms)
    outcome.terms[name.substr(method.size() + 1)] = term.value().item();
  return outcome;
}

GivenLogits reference_logits() {
  return {.student = {1, -2, 3}, .teacher = {std::log(0.7), std::log(0.2), std::log(0.1)}};
}

std::vector<double> softened(const std::vector<double>& logits, double temperature) {
  double largest = logits[0], sum = 0;
  for (const double z : logits) largest = std::max(largest, z);
  std::vector<double> p;
  for (const double z : logits) sum += p.emplace_back(std::exp((z - largest) / temperature));
  for (double& v : p) v /= sum;
  return p;
}

double plain_divergence(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (size_t k = 0; k < p.size(); ++k) sum += p[k] == 0 ? 0 : p[k] * std::log(p[k] / q[k]);
  return sum;
}

std::vector<std::string> student_and_teacher(const std::vector<std::string>& more) {
  std::vector<std::string> all{"phases.dense.model.name=vgg_bn_28",
                               "phases.sparse.model.name=resnet8_28", "~phases.sparse.from"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

namespace {
/// Parameters, buffers and helpers after three updates.
std::map<std::string, std::vector<double>> after_three(const std::string& compress,
                                                       const std::vector<std::string>& overrides) {
  TestPhase phase(compress, overrides);
  phase->start();
  phase.steps(3);
  std::map<std::string, std::vector<double>> all;
  for (const Parameter& p : phase->state().parameters()) all[p.path()] = p.value().to_vector();
  return all;
}

void check_equal(const std::map<std::string, std::vector<double>>& a,
                 const std::map<std::string, std::vector<double>>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [path, values] : a) {
    CAPTURE(path);
    REQUIRE(b.contains(path));
    CHECK(values == b.at(path));
  }
}
}  // namespace

void check_same_on_both_devices(const std::string& compress) {
  const auto here = after_three(compress, student_and_teacher()),
             there =
                 after_three(compress, student_and_teacher({"+device=" + fake_device().text()}));
  check_equal(here, there);
}

void check_same_updates(const std::string& compress, const std::string& reference,
                        const std::vector<std::string>& overrides) {
  check_equal(after_three(compress, overrides), after_three(reference, overrides));
}

void check_killed_is_uninterrupted(const std::string& recipe,
                                   const std::vector<std::string>& overrides,
                                   const std::vector<int64_t>& steps,
                                   const std::vector<std::string>& files) {
  const TemporaryFolder folder;
  const auto arguments = [&](const std::string& out) {
    std::vector<std::string> all{recipe,
                                 "data.limit=64",
                                 "data.batch_size=4",
                                 "ckpt.every_steps=1",
                                 "threads=2",
                                 "log.tensorboard=false",
                                 "--quiet",
                                 "--resume",
                                 "out.dir=" + (folder / out)};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return all;
  };
  const ProcessResult whole = run_vtrain(arguments("whole"));
  REQUIRE_MESSAGE(whole.exit_code == 0, whole.errors);
  for (const int64_t step : steps) {
    CAPTURE(step);
    const ProcessResult killed = run_vtrain_until(
        arguments("killed"), [&] { return newest_step(folder / "killed") >= step; }, SIGKILL);
    CHECK(killed.exit_code == 128 + SIGKILL);
  }
  const ProcessResult resumed = run_vtrain(arguments("killed"));
  REQUIRE_MESSAGE(resumed.exit_code == 0, resumed.errors);
  std::vector<std::string> all = files;
  all.emplace_back("metrics.csv");
  for (const std::string& file : all) {
    CAPTURE(file);
    CHECK(file_content((only_run(folder / "whole") / file).string()) ==
          file_content((only_run(folder / "killed") / file).string()));
  }
}

}  // namespace vtrain
