// FitNets, arXiv:1412.6550: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "autograd/shape.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs(
    "fitnets",
    "{teacher: dense, guided: features.2, hint: features.2, hint_epochs: 1, decay_from: 0}",
    "{teacher: dense, guided: blocks.0, hint: blocks.0, regressor: none, hint_epochs: 1, "
    "decay_from: 0}");

using doctest::Approx;

std::string compress(const std::string& knobs) {
  return "{fitnets: {teacher: dense, " + knobs + "}}";
}

/// The student's middle, 16 maps of 14 x 14, and the teacher's second convolution, 32 of them.
const std::string kPair = "guided: layer2.0, hint: features.6";

TestPhase phase_of(const std::string& knobs, const std::vector<std::string>& more = {}) {
  return TestPhase(compress(knobs), student_and_teacher(more));
}

/// Both networks are one resnet8_28 with the same weights.
TestPhase twins(const std::string& knobs) {
  return TestPhase(compress(knobs),
                   {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=resnet8_28"});
}

std::map<std::string, std::vector<double>> values_of(TestPhase& phase) {
  std::map<std::string, std::vector<double>> all;
  for (const Parameter& p : phase->state().parameters()) all[p.path()] = p.value().to_vector();
  return all;
}

/// Paths whose values differ.
std::set<std::string> moved(const std::map<std::string, std::vector<double>>& before,
                            const std::map<std::string, std::vector<double>>& after) {
  std::set<std::string> paths;
  for (const auto& [path, values] : after) {
    if (values != before.at(path)) paths.insert(path);
  }
  return paths;
}

TEST_CASE("fitnets: a copy of the teacher has no hint loss, and nothing moves") {
  // In front of the first normalisation, which would tell training from evaluation.
  TestPhase phase = twins("guided: conv1, hint: conv1, regressor: none, hint_epochs: 2");
  const auto before = values_of(phase);
  phase.steps(3);
  CHECK(phase.mean("loss") == 0);
  CHECK(moved(before, values_of(phase)).empty());
}

TEST_CASE("fitnets: the hint loss is half the mean squared distance, worked in plain loops") {
  TestPhase phase(compress("guided: conv1, hint: conv1, regressor: none, hint_epochs: 2"),
                  {"phases.dense.model.name=resnet8_28", "phases.sparse.model.name=resnet8_28",
                   "~phases.sparse.from"});
  // Other weights than the teacher's, and the images of the step.
  Parameter conv = phase->network().parameter("conv1.weight");
  std::vector<double> weights = conv.value().to_vector();
  for (double& w : weights) w = 0.5 * w + 0.01;
  conv.set(from_values(conv.value().shape(), weights));
  Tensor images;
  phase->network().hooks().transform_value(
      "conv1.in", {Slot::kCompute, "test", [&images](const Variable& x, const Pass&) {
                     images = x.value().clone();
                     return x;
                   }});
  const std::vector<double> taught = Network::load(phase.folder() / "dense.safetensors")
                                         ->parameter("conv1.weight")
                                         .value()
                                         .to_vector();
  phase.steps(1);
  // Both are 3 x 3 convolutions without bias, so their distance is one of the difference.
  const std::vector<double> x = images.to_vector();
  double sum = 0;
  for (int n = 0; n < 8; ++n) {
    for (size_t o = 0; o < 8; ++o) {
      for (int row = 0; row < 28; ++row) {
        for (int column = 0; column < 28; ++column) {
          double y = 0;
          for (int i = 0; i < 3; ++i) {
            for (int j = 0; j < 3; ++j) {
              const int r = row + i - 1, c = column + j - 1;
              if (r < 0 || r > 27 || c < 0 || c > 27) continue;
              const size_t w = o * 9 + static_cast<size_t>(i * 3 + j);
              y += (weights[w] - taught[w]) * x[static_cast<size_t>((n * 28 + r) * 28 + c)];
            }
          }
          sum += y * y;
        }
      }
    }
  }
  CHECK(phase.mean("fitnets.hint") == Approx(0.5 * sum / (8 * 8 * 28 * 28)).epsilon(1e-4));
  CHECK(phase.mean("loss") == phase.mean("fitnets.hint"));  // labels do not count
}

TEST_CASE("fitnets: the hint stage moves what the guided module is computed from, and no more") {
  TestPhase phase = phase_of(kPair + ", hint_epochs: 1", {"phases.sparse.optim.weight_decay=0.1"});
  const auto before = values_of(phase);
  phase.steps(8);
  std::set<std::string> upper, lower;
  for (const std::string& path : moved(before, values_of(phase)))
    (path.starts_with("layer3") || path.starts_with("linear") ? upper : lower).insert(path);
  CHECK(upper.empty());  // statistics and decayed weights included
  for (const char* const path :
       {"conv1.weight", "bn1.running_mean", "layer2.0.conv2.weight", "layer2.0.bn2.running_var",
        "compress.fitnets.regressor.conv.weight", "compress.fitnets.regressor.bn.running_var"}) {
    CAPTURE(path);
    CHECK(lower.contains(path));
  }
  // Then all of the student learns, and the regressor no more.
  phase->epoch = 1;
  phase->step_in_epoch = 0;
  const auto between = values_of(phase);
  phase.steps(2);
  const std::set<std::string> now = moved(between, values_of(phase));
  for (const char* const path :
       {"conv1.weight", "layer3.0.conv1.weight", "layer3.0.bn1.running_mean", "linear.weight"}) {
    CAPTURE(path);
    CHECK(now.contains(path));
  }
  CHECK(!now.contains("compress.fitnets.regressor.conv.weight"));
}

TEST_CASE("fitnets: another guided module trains another part of the student") {
  TestPhase phase = phase_of("guided: layer1.0, hint: features.2, hint_epochs: 1");
  const auto before = values_of(phase);
  phase.steps(2);
  const auto paths = moved(before, values_of(phase));
  CHECK(paths.contains("layer1.0.conv2.weight"));
  CHECK(!paths.contains("layer2.0.conv1.weight"));
}

TEST_CASE("fitnets: without hints and without the teacher's weight the student trains plainly") {
  check_same_updates(compress("hint_epochs: 0, lambda_start: 0, lambda_end: 0"), "{}",
                     student_and_teacher());
}

TEST_CASE(
    "fitnets: without hints, a constant lambda of T^2 is ordinary distillation, bit for bit") {
  check_same_updates(compress("hint_epochs: 0, temperature: 2, lambda_start: 4, lambda_end: 4"),
                     "{kd: {teacher: dense, temperature: 2, ce_weight: 1, kd_weight: 1}}",
                     student_and_teacher());
  check_same_updates(compress("hint_epochs: 0, temperature: 2, scale_t2: true, lambda_start: 1, "
                              "lambda_end: 1"),
                     "{kd: {teacher: dense, temperature: 2, ce_weight: 1, kd_weight: 1}}",
                     student_and_teacher());
}

/// lambda in an epoch of the phase.
double lambda(const std::string& knobs, int64_t epoch) {
  TestPhase phase = phase_of(knobs, {"phases.sparse.train.epochs=20"});
  phase->epoch = epoch;
  phase.steps(1);
  return phase.mean("fitnets.lambda");
}

TEST_CASE("fitnets: lambda falls as in the authors' CIFAR configuration") {
  const std::string cifar = "hint_epochs: 0, decay_to: 400";  // 4 to 1 from epoch 5
  for (const auto& [epoch, expected] : std::vector<std::pair<int64_t, double>>{
           {0, 4}, {4, 4}, {5, 3.9924}, {100, 3.2727}, {287, 1.8561}, {400, 1}, {500, 1}}) {
    CAPTURE(epoch);
    CHECK(lambda(cifar, epoch) == Approx(expected).epsilon(2e-5));
  }
}

TEST_CASE("fitnets: lambda's knobs move it, and its epochs count from the student stage") {
  const std::string base = "hint_epochs: 0, decay_to: 10, decay_from: 0";
  CHECK(lambda(base, 4) == Approx(4 - 3 * 5.0 / 11));
  CHECK(lambda(base + ", lambda_start: 2", 4) == Approx(2 - 5.0 / 11));
  CHECK(lambda(base + ", lambda_end: 0", 4) == Approx(4 - 4 * 5.0 / 11));
  CHECK(lambda("hint_epochs: 0, decay_to: 10, decay_from: 4", 4) == Approx(4 - 3 * 1.0 / 7));
  CHECK(lambda(kPair + ", hint_epochs: 3, decay_to: 10, decay_from: 0", 7) ==
        Approx(4 - 3 * 5.0 / 11));
  // The default reaches lambda_end in the last of 20 epochs, 16 of which are the student stage.
  CHECK(lambda(kPair + ", hint_epochs: 4", 19) == 1);
  CHECK(lambda(kPair + ", hint_epochs: 4", 18) == Approx(4 - 3 * 10.0 / 11));
}

TEST_CASE("fitnets: temperature and scale_t2 reach the soft term") {
  const auto soft = [](const std::string& knobs) {
    return step_of("fitnets", "hint_epochs: 0, lambda_start: 1, lambda_end: 1, " + knobs,
                   reference_logits())
        .terms.at("soft");
  };
  CHECK(soft("temperature: 1") == Approx(1.7310267).epsilon(1e-6));
  CHECK(soft("temperature: 4") == Approx(2.6099395 / 16).epsilon(1e-6));
  CHECK(soft("temperature: 4, scale_t2: true") == Approx(2.6099395).epsilon(1e-6));
}

TEST_CASE("fitnets: guided_lr_scale halves the guided layers' step in the student stage alone") {
  const auto step = [](const std::string& knobs, int64_t epoch, const std::string& parameter) {
    TestPhase phase = phase_of(kPair + ", hint_epochs: 1" + knobs);
    phase->epoch = epoch;
    const auto before = values_of(phase);
    phase.steps(1);
    const std::vector<double> a = before.at(parameter),
                              b = phase->network().parameter(parameter).value().to_vector();
    double largest = 0;
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
  };
  const std::string half = ", guided_lr_scale: 0.5", guided = "layer2.0.conv1.weight";
  CHECK(step(half, 1, guided) == Approx(0.5 * step("", 1, guided)).epsilon(1e-3));
  CHECK(step(half, 1, "linear.weight") == step("", 1, "linear.weight"));
  CHECK(step(half, 0, guided) == step("", 0, guided));
}

TEST_CASE("fitnets: the regressor is a convolution, with or without normalisation, or none") {
  const auto sizes = [](TestPhase phase) {
    std::map<std::string, Shape> all;
    for (const auto& [path, helper] : phase->state().helpers) {
      for (const Parameter& p : helper->parameters())
        all[p.path().substr(std::string("compress.fitnets.regressor.").size())] = p.value().shape();
    }
    return all;
  };
  const auto conv_bn = sizes(phase_of(kPair)), conv = sizes(phase_of(kPair + ", regressor: conv"));
  CHECK(conv == std::map<std::string, Shape>{{"conv.weight", {32, 16, 1, 1}}, {"conv.bias", {32}}});
  CHECK(conv_bn.at("conv.weight") == Shape{32, 16, 1, 1});
  CHECK(conv_bn.at("bn.running_var") == Shape{32});
  CHECK(sizes(twins("guided: layer2.0, hint: layer2.0, regressor: none")).empty());
}

TEST_CASE("fitnets: joint adds feat_weight times the distance to the labels' loss, all along") {
  const auto term = [](const std::string& knobs, const std::string& name) {
    TestPhase phase = phase_of(kPair + ", " + knobs);
    phase->epoch = 1;
    phase.steps(1);
    return phase.mean(name);
  };
  const double once = term("mode: joint, feat_weight: 1", "fitnets.hint");
  CHECK(once > 0);
  CHECK(term("mode: joint, feat_weight: 7", "fitnets.hint") == Approx(7 * once).epsilon(1e-5));
  CHECK(term("mode: joint", "fitnets.hint") == Approx(100 * once).epsilon(1e-5));
  // The same distance as the hint stage's, which has half of it.
  CHECK(term("hint_epochs: 2", "fitnets.hint") == Approx(0.5 * once).epsilon(1e-5));
  CHECK(term("mode: joint, feat_weight: 1", "loss") ==
        Approx(term("mode: joint, feat_weight: 1", "task") + once).epsilon(1e-6));
}

TEST_CASE("fitnets: a short hint stage brings the student's middle to the teacher's") {
  TestPhase phase = phase_of(kPair, {"optim.lr=0.1"});
  phase.steps(2);
  const double first = phase.mean("fitnets.hint");
  for (int epoch = 0; epoch < 10; ++epoch) {
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  CHECK(phase.mean("fitnets.hint") < 0.75 * first);
}

TEST_CASE("fitnets: finish leaves the plain student") {
  TestPhase phase = phase_of(kPair);
  phase.steps(1);
  phase->finish();
  Network plain({.model = "resnet8_28", .options = {}, .parts = {}});
  const auto left = phase->network().state();
  CHECK(left.size() == plain.state().size());
  for (const auto& [path, value] : plain.state()) CHECK(left.contains(path));
  CHECK(phase->network().hooks().empty());
  for (const Parameter& p : phase->network().parameters()) CHECK(!p.is_frozen());
}

TEST_CASE("fitnets: a second device gives the bits of the CPU") {
  check_same_on_both_devices(compress(kPair + ", hint_epochs: 1"));
  check_same_on_both_devices(compress("hint_epochs: 0"));
}

TEST_CASE("fitnets: a run killed in either stage ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/vgg14_fitnets.yaml",
      {"data.name=synthetic", "phases.student.data.limit=64", "phases.teacher.data.limit=64",
       "phases.teacher.train.epochs=1", "phases.student.train.epochs=2",
       "phases.student.compress.fitnets.hint_epochs=1"},
      {21, 38}, {"student.safetensors"});
}

TEST_CASE("fitnets: misuse is refused before the first batch, with the place") {
  const auto refuses = [](const std::string& knobs, const std::string& message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(phase_of(knobs), doctest::Contains(message.c_str()), RecipeError);
  };
  refuses("guided: layer2.0", "compress.fitnets.hint: missing");
  refuses("guided: layer2.9, hint: features.6",
          "compress.fitnets.guided: resnet8_28 has no module layer2.9; did you mean layer2.0?");
  refuses("guided: layer2.0, hint: layer2.0",
          "compress.fitnets.hint: vgg_bn_28 has no module layer2.0");
  refuses("guided: layer3.0, hint: features.6",
          "guided: layer3.0 cannot learn features.6: expected a map at least as large as 14 x 14");
  refuses("guided: layer2.0, hint: classifier", "expected feature maps (1, C, H, W)");
  refuses("guided: layer2.0, hint: features.6, regressor: none",
          "expected equal shapes, got (1, 16, 14, 14) at layer2.0 and (1, 32, 14, 14)");
  refuses("guided: linear, hint: classifier, regressor: none",
          "expected a module in the middle, got linear");
  refuses("guided_lr_scale: 0.5, hint_epochs: 0", "fitnets.guided: missing");
  refuses(kPair + ", decay_from: 5, decay_to: 4", "decay_to: expected at least decay_from");
  refuses(kPair + ", mode: joint, hint_epochs: 3", "hint_epochs: unknown key");
  const TemporaryFolder folder;
  Network other({.model = "vgg_bn_28", .options = {.num_classes = 7}, .parts = {}});
  other.save(folder / "other.safetensors");
  CHECK_THROWS_WITH_AS(
      TestPhase("{fitnets: {teacher: " + (folder / "other.safetensors") + ", " + kPair + "}}",
                student_and_teacher()),
      doctest::Contains("computes 7 classes, the data has 10"), RecipeError);
}

TEST_CASE("fitnets: a student that loses tokens in training is refused by the dry run's losses") {
  TestPhase phase(
      "{fitnets: {teacher: dense, guided: blocks.2, hint: blocks.2, regressor: none, hint_epochs: "
      "1}}");
  phase->try_losses();
  phase->network().hooks().wrap_tokens(
      "blocks.0",
      {Slot::kStructure, "other", [](const Tokens& t, const InnerTokens& inner, const Pass&) {
         Tokens fewer = t;
         fewer.x = slice(t.x, 1, 0, 40);
         return inner(fewer);
       }});
  CHECK_THROWS_WITH_AS(phase->try_losses(),
                       doctest::Contains("compress.fitnets.guided: blocks.2 gives (2, 40, 96) in "
                                         "training, blocks.2 of the teacher (2, 50, 96)"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
