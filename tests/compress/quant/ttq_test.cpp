// Trained ternary quantization, arXiv:1612.01064: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/packed_file.h"
#include "compress/deploy/packed_weights.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/process.h"
#include "tests/quantizing.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("ttq", "{}", "{}");

using doctest::Approx;

const std::string kWeight = "layer2.0.conv2.weight";  // 16 x 16 x 3 x 3

TestPhase ttq(const std::string& knobs, std::vector<std::string> overrides = {},
              const std::string& model = "resnet8_28") {
  return pruning_phase("{ttq: {" + knobs + "}}", std::move(overrides), model);
}

Parameter scale_of(TestPhase& phase, const std::string& name) {
  for (const auto& [path, helper] : phase->state().helpers) {
    for (const Parameter& p : helper->parameters()) {
      if (p.path() == "compress.ttq.scales." + name) return p;
    }
  }
  FAIL("no scale ", name);
  return {};
}

TEST_CASE("ttq: a weight is W_p above t max|w|, minus W_n below, and 0 between") {
  TestPhase phase = ttq("t: 0.25, init_scale: one");
  phase->start();
  scale_of(phase, kWeight + ".positive").set(from_values({1}, {0.75}));
  scale_of(phase, kWeight + ".negative").set(from_values({1}, {0.5}));
  const std::vector<double> w = values_of(phase, kWeight), q = effective_weight(phase, kWeight);
  double most = 0;
  for (const double x : w) most = std::max(most, std::abs(x));
  std::set<double> values;
  for (size_t i = 0; i < w.size(); ++i) {
    CHECK(q[i] == (w[i] > 0.25 * most ? 0.75 : w[i] < -0.25 * most ? -0.5 : 0));
    values.insert(q[i]);
  }
  CHECK(values == std::set<double>{-0.5, 0, 0.75});
}

// With W_p = W_n = 1 every weight's gradient is g, so what one step moved says what g was.
TEST_CASE("ttq: magnitudes move by the sum of their weights' gradients, W_n with a minus") {
  TestPhase phase = ttq("t: 0.2, init_scale: one", {"phases.sparse.optim.lr=0.05"});
  phase->start();
  const std::vector<double> w = values_of(phase, kWeight), q = effective_weight(phase, kWeight);
  phase.steps(1);
  const std::vector<double> moved = values_of(phase, kWeight);
  double up = 0, down = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    if (q[i] > 0) up += moved[i] - w[i];
    if (q[i] < 0) down -= moved[i] - w[i];
  }
  CHECK(std::abs(up) > 1e-6);
  CHECK(std::abs(down) > 1e-6);
  CHECK(scale_of(phase, kWeight + ".positive").value().item() - 1 == Approx(up).epsilon(2e-3));
  CHECK(scale_of(phase, kWeight + ".negative").value().item() - 1 == Approx(down).epsilon(2e-3));
}

TEST_CASE("ttq: both magnitudes' gradients are those of finite differences") {
  const auto loss = [](const std::string& sign, double value, double* moved = nullptr) {
    TestPhase phase = ttq("t: 0.2, init_scale: one", {"phases.sparse.optim.lr=0.05"});
    phase->start();
    Parameter scale = scale_of(phase, kWeight + sign);
    scale.set(from_values({1}, {value}));
    phase.steps(1);
    if (moved != nullptr) *moved = scale.value().item() - value;
    return phase.mean("loss");
  };
  for (const char* const sign : {".positive", ".negative"}) {
    CAPTURE(sign);
    double moved = 0;
    loss(sign, 1, &moved);
    const double slope = (loss(sign, 1.02) - loss(sign, 0.98)) / 0.04;
    // f32 keeps a loss of 2.5 to 3e-7: 1e-5 of a slope.
    CHECK(-moved / 0.05 == Approx(slope).epsilon(0.05));
  }
}

TEST_CASE("ttq: weights of a set learn as fast as their magnitude is large") {
  const auto moved = [](double positive) {
    TestPhase phase = ttq("t: 0.2, init_scale: one, layers: [linear], skip: []");
    phase->start();
    scale_of(phase, "linear.weight.positive").set(from_values({1}, {positive}));
    const std::vector<double> before = values_of(phase, "linear.weight"),
                              q = effective_weight(phase, "linear.weight");
    phase.steps(1);
    const std::vector<double> after = values_of(phase, "linear.weight");
    double up = 0;
    for (size_t i = 0; i < q.size(); ++i) up += q[i] > 0 ? std::abs(after[i] - before[i]) : 0;
    return up;
  };
  // The logits differ too, and with them g: by little for a small change of W_p.
  CHECK(moved(1.05) / moved(1.0) == Approx(1.05).epsilon(0.04));
  CHECK(moved(0) == 0);
}

TEST_CASE("ttq: zeros grow with t, and sparsity asks for their share exactly") {
  const auto zeros = [](const std::string& knobs) {
    TestPhase phase = ttq(knobs);
    phase->start();
    return zeros_in(effective_weight(phase, kWeight));
  };
  const int64_t few = zeros("t: 0.05"), more = zeros("t: 0.3");
  CHECK(few > 0);
  CHECK(more > 2 * few);
  CHECK(zeros("t: 0") == 0);
  CHECK(zeros("sparsity: 0.5") == 16 * 16 * 9 / 2);
  CHECK(zeros("sparsity: 0.9") == std::llround(0.9 * 16 * 16 * 9));
}

TEST_CASE("ttq: magnitudes start at the mean of their weights, or at one") {
  TestPhase phase = ttq("sparsity: 0.5"), one = ttq("sparsity: 0.5, init_scale: one");
  phase->start();
  one->start();
  const std::vector<double> w = values_of(phase, kWeight), q = effective_weight(phase, kWeight);
  double sum = 0;
  int64_t count = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    if (q[i] >= 0) continue;
    sum -= w[i];
    ++count;
  }
  CHECK(scale_of(phase, kWeight + ".negative").value().item() ==
        Approx(sum / static_cast<double>(count)).epsilon(1e-6));
  CHECK(scale_of(one, kWeight + ".negative").value().item() == 1);
}

TEST_CASE("ttq: scale_lr scales how far magnitudes move, and they do not decay") {
  const auto moved = [](const std::string& knobs) {
    TestPhase phase = ttq("init_scale: one, " + knobs, {"phases.sparse.optim.weight_decay=0.5"});
    phase->start();
    phase.steps(1);
    return scale_of(phase, kWeight + ".positive").value().item() - 1;
  };
  const double once = moved("scale_lr: 1");
  CHECK(moved("scale_lr: 4") == Approx(4 * once).epsilon(1e-2));
  CHECK(std::abs(once) < 4e-3);  // decay alone would take 0.01 * 0.5
}

TEST_CASE("ttq: the first and the last layer stay real unless they are asked for") {
  TestPhase phase = ttq(""), all = ttq("skip: []"), one = ttq("layers: [layer1.0.conv1]");
  for (TestPhase* const each : {&phase, &all, &one}) (*each)->start();
  const auto distinct = [](TestPhase& p, const std::string& path) {
    return most_values_in_a_row(effective_weight(p, path), 1);
  };
  CHECK(distinct(phase, "conv1.weight") > 60);
  CHECK(distinct(phase, "linear.weight") > 300);
  CHECK(distinct(phase, kWeight) == 3);
  CHECK(distinct(all, "conv1.weight") == 3);
  CHECK(distinct(all, "linear.weight") == 3);
  CHECK(distinct(one, kWeight) > 2000);
  CHECK(distinct(one, "layer1.0.conv1.weight") == 3);
}

TEST_CASE("ttq: the end is the network that was trained, in two bits a weight") {
  TestPhase phase = ttq("sparsity: 0.4", {"phases.sparse.train.epochs=1"});
  phase->start();
  finish_epoch(phase);
  const Tensor images = phase.images(8), trained = phase->network().logits(images);
  phase->finish();
  CHECK(phase->network().hooks().empty());
  CHECK(phase->network().logits(images).to_vector() == trained.to_vector());
  const std::vector<PackedWeight>& packed = phase->state().packed;
  REQUIRE(packed.size() == 6);
  // Rows of whole bytes: 2 bits a code, two scales a layer.
  int64_t expected = 0;
  for (const PackedWeight& w : packed) {
    expected += w.codes.dim(0) * ((2 * w.codes.numel() / w.codes.dim(0) + 7) / 8) + 8;
    CHECK(packed_format_of(w.codes) == PackedFormat::kTrit2);
  }
  CHECK(packed_size(packed).bytes == expected);
  const auto& rows = phase->state().report;
  REQUIRE(rows.size() == 2);  // no magnitude is negative
  CHECK(rows[1].first == "ternary");
  CHECK(rows[1].second.find(str(expected, " bytes with their scales")) != std::string::npos);
  CHECK(rows[1].second.find("40 % zeros") != std::string::npos);

  const TemporaryFolder folder;
  save_packed(folder / "p", phase->network(), packed);
  CHECK(load_packed(folder / "p")->logits(images).to_vector() == trained.to_vector());
}

TEST_CASE("ttq: pruned weights stay zeros") {
  TestPhase phase = pruning_phase("{ttq: {t: 0.01}, magnitude: {rate: 0.6, rounds: 1}}");
  phase->start();
  phase.steps(2);
  const std::vector<double> w = values_of(phase, "features.8.weight"),
                            q = effective_weight(phase, "features.8.weight");
  CHECK(zeros_in(w) > 0);
  for (size_t i = 0; i < w.size(); ++i) {
    if (w[i] == 0) CHECK(q[i] == 0);
  }
}

TEST_CASE("ttq: training moves the loss that three values cost") {
  // Sums over thousands of weights want a smaller rate than weights do.
  TestPhase phase = ttq("sparsity: 0.5, scale_lr: 0.1",
                        {"phases.sparse.train.epochs=6", "phases.sparse.optim.lr=0.1"});
  phase->start();
  phase.steps(1);
  const double ternary = phase.mean("loss");
  while (phase->epoch < 5) finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < 0.7 * ternary);
}

TEST_CASE("ttq: a cut network learns three values from a teacher, and its report says packed") {
  const TemporaryFolder folder;
  put_file(folder / "recipe.yaml", R"(
seed: 2
threads: 2
model: {name: vgg_bn_28}
data: {name: synthetic, batch_size: 16, limit: 128, workers: 0}
optim: {name: sgd, lr: 0.05, momentum: 0.9}
train: {epochs: 1}
log: {tensorboard: false}
phases:
  dense: {}
  pruned: {from: dense, compress: {l1_filters: {rate: 0.5}}}
  ternary: {from: pruned, compress: {ttq: {}, kd: {teacher: dense}}}
)");
  const ProcessResult run =
      run_vtrain({folder / "recipe.yaml", "--quiet", "out.dir=" + (folder / "out")});
  REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
  const auto file = [&](const std::string& name) {
    return file_content((only_run(folder / "out") / name).string());
  };
  const std::string json = file("result.json");
  CAPTURE(json);
  CHECK(json.find("\"executor\":\"plan f32\",\"kind\":\"dense-smaller + packed\"") !=
        std::string::npos);
  CHECK(json.find(str("\"bytes\":", file("ternary.packed.safetensors").size(), ',')) !=
        std::string::npos);
  CHECK(file("ternary.packed.safetensors").size() * 2 < file("pruned.safetensors").size());
  CHECK(run.output.find("as fast as in reals") != std::string::npos);
}

TEST_CASE("ttq: a run that is killed ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_ttq.yaml",
      {"data.name=synthetic", "data.val=0.25", "phases.dense.train.epochs=1",
       "phases.ternary.train.epochs=2", "+phases.ternary.ema.decay=0.9"},
      {14, 20}, {"ternary.safetensors", "ternary.packed.safetensors", "ternary.quant.csv"});
}

TEST_CASE("ttq: another device gives the bits of the CPU") {
  check_same_on_fake_device("{ttq: {}}");
}

TEST_CASE("ttq: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(ttq(knobs), doctest::Contains(message), RecipeError);
  };
  refused("t: 0.6", "ttq.t: expected a number in [0, 0.5], got 0.6");
  refused("sparsity: 1", "ttq.sparsity: expected a number in (0, 1), got 1");
  refused("sparsity: 0.5, t: 0.1", "ttq.t: has no effect beside sparsity");
  refused("scale_lr: 0", "scale_lr: expected a number above 0");
  refused("layers: [conv9]", "ttq.layers: conv9 matches no layer");
  refused("skip: [\"*\"]", "leave no layer of resnet8_28 to round");
  CHECK_THROWS_WITH_AS(pruning_phase("{ttq: {}, minmax: {}}"),
                       doctest::Contains("minmax and ttq both want the quantize slot"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
