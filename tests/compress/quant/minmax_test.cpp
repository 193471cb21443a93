// Quantization-aware training, arXiv:1712.05877: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/arithmetic.h"
#include "compress/deploy/compare.h"
#include "compress/deploy/packed_weights.h"
#include "compress/parts/observers.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/process.h"
#include "tests/quantizing.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("minmax", "{calib_batches: 1}", "{calib_batches: 1}");

using doctest::Approx;

/// A sum of two values that the model computes itself: the second one passes no module.
class UnreachableSum final : public Model {
 public:
  explicit UnreachableSum(const ModelOptions& o)
      : conv1_(o.channels, 8, {.kernel = 3, .padding = 1}),
        conv2_(8, 8, {.kernel = 3, .padding = 1}),
        linear_(8, o.num_classes) {
    add("conv1", conv1_);
    add("conv2", conv2_);
    add("pool", pool_);
    add("linear", linear_);
  }
  Outputs outputs(const Variable& images, const Pass& pass) override {
    const Variable hidden = conv1_(images, pass);
    const Variable sum = conv2_(hidden, pass) + sigmoid(hidden);
    return {.logits = linear_(pool_(sum, pass), pass), .heads = {}};
  }

 private:
  using Module::add;
  Conv2d conv1_, conv2_;
  GlobalAveragePool pool_;
  Linear linear_;
};
const RegisteredModel registered("test_unreachable_sum", "of minmax_test", "",
                                 [](const ModelOptions& o) -> std::unique_ptr<Model> {
                                   return std::make_unique<UnreachableSum>(o);
                                 });

TestPhase minmax(const std::string& knobs, std::vector<std::string> overrides = {},
                 const std::string& model = "resnet8_28") {
  return pruning_phase("{minmax: {" + knobs + "}}", std::move(overrides), model);
}

/// The range of a value, as the helper keeps it.
ValueRange range_of(TestPhase& phase, const std::string& value) {
  for (const auto& [path, helper] : phase->state().helpers) {
    for (const Parameter& p : helper->parameters()) {
      if (p.path() != "compress.minmax.ranges." + value) continue;
      const std::vector<double> kept = p.value().to_vector();
      CHECK(kept[2] == 1);
      return {.low = kept[0], .high = kept[1]};
    }
  }
  FAIL("no range of ", value);
  return {};
}

double loss_of(TestPhase& phase, int steps) {
  phase->start();
  phase->means.clear();
  phase.steps(steps);
  return phase.mean("loss");
}

TEST_CASE("minmax: with all bits at 32 it is plain training, bit for bit") {
  TestPhase plain = pruning_phase("{}", {}, "resnet8_28"),
            none = minmax("weight_bits: 32, activation_bits: 32, freeze_bn_epoch: 2");
  train_to_end(plain);
  train_to_end(none);
  CHECK(values_of(plain) == values_of(none));
  CHECK(none->state().integers.empty());
}

TEST_CASE("minmax: a weight has at most 2^bits - 1 values in a channel, 0 among them") {
  for (const int bits : {2, 4, 8}) {
    CAPTURE(bits);
    TestPhase phase = minmax(str("weight_bits: ", bits));
    phase->start();
    phase.steps(2);
    const std::vector<double> w = effective_weight(phase, "layer3.0.conv2.weight");
    const size_t most = most_values_in_a_row(w, 32);
    CHECK(most <= (size_t{1} << bits) - 1);
    CHECK(most >= (bits == 8 ? 100 : bits == 4 ? 13 : 3));
    CHECK(zeros_in(w) > 0);
  }
}

TEST_CASE("minmax: rounding passes the gradient of a weight on whole") {
  // Weights on the grid already: one step moves them exactly as plain training does.
  const std::vector<std::string> sgd = {"phases.sparse.optim.lr=0.1"};
  TestPhase rounded = minmax("activation_bits: 32, weight_bits: 2, layers: [linear]", sgd),
            plain = pruning_phase("{}", sgd, "resnet8_28");
  std::vector<double> grid;
  for (int i = 0; i < 320; ++i) grid.push_back(0.25 * (i % 3 - 1));
  for (TestPhase* const phase : {&rounded, &plain}) {
    (*phase)->network().parameter("linear.weight").set(from_values({10, 32}, grid));
    (*phase)->start();
    phase->steps(1);
  }
  CHECK(values_of(rounded, "linear.weight") == values_of(plain, "linear.weight"));
  CHECK(values_of(rounded, "linear.weight") != grid);
}

TEST_CASE("minmax: with weights on the grid, unfold and correct are plain batch norm") {
  const auto loss = [](const std::string& compress) {
    TestPhase phase = pruning_phase(compress, {}, "resnet8_28");
    // gamma / sqrt(var + eps) = 1, and all weights -0.25, 0 or 0.25: rounding changes nothing.
    for (Parameter p : phase->network().parameters()) {
      if (p.path().ends_with("running_var")) p.set(full(p.value().shape(), 1 - 1e-5));
      if (p.value().ndim() < 2) continue;
      std::vector<double> grid;
      for (int64_t i = 0; i < p.value().numel(); ++i)
        grid.push_back(0.25 * static_cast<double>((i * 7 + i / 11) % 3 - 1));
      p.set(from_values(p.value().shape(), grid));
    }
    return loss_of(phase, 1);
  };
  const double plain = loss("{}");
  CHECK(loss("{minmax: {activation_bits: 32, bn: unfold}}") == Approx(plain).epsilon(1e-6));
  CHECK(loss("{minmax: {activation_bits: 32, bn: correct}}") == Approx(plain).epsilon(1e-5));
}

TEST_CASE("minmax: unfold and correct part while statistics move and agree once they are frozen") {
  const auto loss = [](const std::string& bn, int freeze) {
    TestPhase phase =
        minmax(str("activation_bits: 32, weight_bits: 3, bn: ", bn, ", freeze_bn_epoch: ", freeze));
    return loss_of(phase, 3);
  };
  CHECK(loss("unfold", 0) == loss("correct", 0));
  CHECK(loss("unfold", 1) != Approx(loss("correct", 1)).epsilon(1e-4));
}

TEST_CASE("minmax: correct normalises with the statistics of the convolution in reals") {
  // Running statistics move as in plain training: rounding does not reach the first layer's.
  TestPhase plain = pruning_phase("{}", {}, "resnet8_28"),
            corrected = minmax("activation_bits: 32, weight_bits: 2, bn: correct"),
            unfolded = minmax("activation_bits: 32, weight_bits: 2, bn: unfold");
  for (TestPhase* const phase : {&plain, &corrected, &unfolded}) {
    (*phase)->start();
    phase->steps(1);
  }
  CHECK(values_of(corrected, "bn1.running_var") == values_of(plain, "bn1.running_var"));
  CHECK(values_of(unfolded, "bn1.running_var") != values_of(plain, "bn1.running_var"));
}

TEST_CASE("minmax: folded puts the norm into the weights at the start, for good") {
  TestPhase phase =
      minmax("bn: folded, activation_bits: 32, weight_bits: 8", {"optim.lr=0.5"}, "vgg_bn_28");
  for (Parameter p : phase->network().parameters()) {
    if (p.path().ends_with("running_var")) p.set(full(p.value().shape(), 4));
    if (p.path().ends_with("running_mean")) p.set(full(p.value().shape(), 0.01));
  }
  const std::vector<double> before = values_of(phase, "features.4.weight");
  const Tensor images = phase.images(8), reals = phase->network().clone()->logits(images);
  phase->start();
  CHECK(values_of(phase, "features.4.weight")[0] == Approx(before[0] / 2).epsilon(1e-5));
  CHECK(max_relative_difference(phase->network().clone()->logits(images), reals) < 1e-5);
  const std::vector<double> bias = values_of(phase, "features.5.bias");
  phase.steps(3);
  CHECK(zeros_in(values_of(phase, "features.5.running_mean")) == 32);
  CHECK(zeros_in(values_of(phase, "features.4.bias")) == 32);
  for (const double gamma : values_of(phase, "features.5.weight"))
    CHECK(gamma == static_cast<double>(static_cast<float>(std::sqrt(1 + 1e-5))));
  CHECK(values_of(phase, "features.5.bias") != bias);
  CHECK(values_of(phase, "features.4.weight")[0] != Approx(before[0] / 2).epsilon(1e-5));
}

TEST_CASE("minmax: freeze_bn_epoch stops statistics, freeze_observer_epoch ranges") {
  TestPhase phase = minmax("freeze_bn_epoch: 1, freeze_observer_epoch: 1, ema_decay: 0.5");
  phase->start();
  const auto start = values_of(phase, "bn1.running_mean");
  const ValueRange range = range_of(phase, "act1/relu.0");
  finish_epoch(phase);
  const auto frozen = values_of(phase, "bn1.running_mean");
  const ValueRange kept = range_of(phase, "act1/relu.0");
  CHECK(frozen != start);
  CHECK(!(kept == range));
  finish_epoch(phase);
  CHECK(values_of(phase, "bn1.running_mean") == frozen);
  CHECK(range_of(phase, "act1/relu.0") == kept);
  // The default: the last third, ranges with the statistics.
  TestPhase later = minmax("", {"phases.sparse.train.epochs=3"});
  later->start();
  finish_epoch(later);
  const auto first = values_of(later, "bn1.running_mean");
  finish_epoch(later);
  const auto second = values_of(later, "bn1.running_mean");
  const ValueRange last = range_of(later, "act1/relu.0");
  finish_epoch(later);
  CHECK(first != second);
  CHECK(values_of(later, "bn1.running_mean") == second);
  CHECK(range_of(later, "act1/relu.0") == last);
}

TEST_CASE("minmax: ranges begin with calibration, and follow the observer that was asked for") {
  // 64 training images, which calibration sees whole: pixels keep their range.
  TestPhase calibrated = minmax("calib_batches: 1"), none = minmax("calib_batches: 0");
  calibrated->start();
  none->start();
  const ValueRange all = range_of(calibrated, "images");
  none->means.clear();
  none.steps(1);
  const ValueRange eight = range_of(none, "images");
  CHECK(all.low <= eight.low);
  CHECK(all.high >= eight.high);
  calibrated.steps(1);
  const ValueRange averaged = range_of(calibrated, "images");
  // ema: 0.999 of what was there and 0.001 of the same eight images.
  CHECK(averaged.high == Approx(0.999 * all.high + 0.001 * eight.high).epsilon(1e-6));
  CHECK(averaged.low == Approx(0.999 * all.low + 0.001 * eight.low).epsilon(1e-6));

  const auto after = [](const std::string& knobs) {
    TestPhase phase = minmax("calib_batches: 0, " + knobs);
    phase->start();
    phase.steps(4);
    return range_of(phase, "images");
  };
  CHECK(after("range: ema, ema_decay: 0") == after("range: current"));
  CHECK(after("range: minmax").high >= after("range: ema, ema_decay: 0.5").high);
  CHECK(after("range: minmax").high > after("range: percentile, percentile: 0.9").high);
  CHECK(after("range: percentile, percentile: 0.9, bins: 16") !=
        after("range: percentile, percentile: 0.9"));
  const ValueRange mse = after("range: mse, activation_bits: 3");
  CHECK(mse.high < after("range: minmax").high);
  CHECK(mse != after("range: mse, activation_bits: 3, range_steps: 2"));
}

TEST_CASE("minmax: values stay real for act_delay_steps") {
  // The same weights and images: what differs are rounded values alone.
  const auto losses = [](const std::string& knobs) {
    TestPhase phase = minmax(knobs);
    phase->start();
    std::vector<double> all;
    for (int i = 0; i < 3; ++i) {
      phase->means.clear();
      phase.steps(1);
      all.push_back(phase.mean("loss"));
    }
    return all;
  };
  const auto weights = losses("activation_bits: 32"),
             delayed = losses("activation_bits: 2, act_delay_steps: 2"),
             at_once = losses("activation_bits: 2");
  CHECK(delayed[0] == weights[0]);
  CHECK(delayed[1] == weights[1]);
  CHECK(delayed[2] != weights[2]);
  CHECK(at_once[0] != weights[0]);
  // Without calibration the first epoch is the delay.
  CHECK(losses("activation_bits: 2, calib_batches: 0") == weights);
  TestPhase never = minmax("act_delay_steps: 1000");
  never->start();
  finish_epoch(never);
  CHECK_THROWS_WITH_AS(never->finish(), doctest::Contains("act_delay_steps: expected fewer"),
                       Error);
}

TEST_CASE("minmax: per_channel has a scale for each output channel") {
  for (const bool per_channel : {true, false}) {
    CAPTURE(per_channel);
    TestPhase phase = minmax(str("per_channel: ", per_channel));
    train_to_end(phase);
    const QuantizedLayer& layer = integers_of(phase).layers[2];
    CHECK(layer.quantizer.scale().numel() == (per_channel ? layer.weight.dim(0) : 1));
  }
}

TEST_CASE("minmax: weight_range mse clips weights for a smaller error") {
  const auto error = [](const std::string& knobs) {
    TestPhase phase = minmax("weight_bits: 3, layers: [linear], " + knobs);
    phase->start();
    const std::vector<double> w = values_of(phase, "linear.weight"),
                              q = effective_weight(phase, "linear.weight");
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += (w[i] - q[i]) * (w[i] - q[i]);
    return sum;
  };
  const double least = error("weight_range: mse");
  CHECK(least < 0.95 * error("weight_range: current"));
  CHECK(least < error("weight_range: mse, weight_steps: 2"));
}

TEST_CASE("minmax: layers and skip say what is rounded; first and last are words for it") {
  TestPhase phase = minmax("layers: [\"layer*\", linear], skip: [layer1.0.conv1, last]");
  train_to_end(phase);
  std::vector<std::string> rounded;
  for (const QuantizedLayer& layer : integers_of(phase).layers) rounded.push_back(layer.nodes.path);
  CHECK(rounded == std::vector<std::string>{"layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2",
                                            "layer3.0.conv1", "layer3.0.conv2"});
  CHECK(most_values_in_a_row(values_of(phase, "layer1.0.conv1.weight"), 8) == 72);
  CHECK(phase->state().integers.at("minmax").second.skip ==
        std::vector<std::string>{"conv1", "layer1.0.conv1", "linear"});
  TestPhase first = minmax("skip: [first]");
  train_to_end(first);
  CHECK(integers_of(first).layers[0].nodes.path == "layer1.0.conv1");
}

TEST_CASE("minmax: a transformer has zero points behind GELU, none with symmetric_activations") {
  for (const bool symmetric : {false, true}) {
    CAPTURE(symmetric);
    TestPhase phase(str("{minmax: {symmetric_activations: ", symmetric, "}}"),
                    {"phases.sparse.train.epochs=1"});
    phase->start();
    finish_epoch(phase);
    const Tensor images = phase.images(8), trained = phase->network().logits(images);
    phase->finish();
    check_deployed(phase, images, trained);
    int64_t shifted = 0;
    for (const auto& [value, type] : integers_of(phase).values)
      shifted += type.range.zero_point != 0 ? 1 : 0;
    CHECK(shifted == (symmetric ? 0 : 6));
  }
}

TEST_CASE("minmax: what was trained is what is deployed, at any bits and in every form") {
  for (const std::string knobs :
       {"", "weight_bits: 4, activation_bits: 4", "weight_bits: 2, activation_bits: 8",
        "bn: correct", "bn: folded", "per_channel: false, weight_range: mse, weight_bits: 5",
        "skip: [first, last]"}) {
    for (const std::string model : {"resnet8_28", "vgg_bn_28"}) {
      CAPTURE(knobs);
      CAPTURE(model);
      TestPhase phase = minmax(knobs, {"phases.sparse.train.epochs=1"}, model);
      phase->start();
      finish_epoch(phase);
      const Tensor images = phase.images(8), trained = phase->network().logits(images);
      phase->finish();
      check_deployed(phase, images, trained);
      CHECK(phase->network().hooks().empty());
    }
  }
}

TEST_CASE("minmax: overrides give single layers other bits, and what was trained is deployed") {
  for (const std::string bn : {"unfold", "correct", "folded"}) {
    CAPTURE(bn);
    TestPhase phase = minmax(
        "weight_bits: 4, overrides: {\"layer1.*\": {weight_bits: 2}, layer2.0.conv2: {weight_bits: "
        "8, activation_bits: 5}}, bn: " +
            bn,
        {"phases.sparse.train.epochs=1"});
    phase->start();
    finish_epoch(phase);
    const auto most = [&](const std::string& path, size_t rows) {
      return most_values_in_a_row(effective_weight(phase, path), rows);
    };
    CHECK(most("layer1.0.conv2.weight", 8) == 3);
    CHECK(most("layer2.0.conv2.weight", 16) > 31);
    CHECK(most("layer3.0.conv2.weight", 32) > 7);
    CHECK(most("layer3.0.conv2.weight", 32) <= 15);
    const Tensor images = phase.images(8), trained = phase->network().logits(images);
    phase->finish();
    check_deployed(phase, images, trained);
    const Quantization& q = integers_of(phase);
    CHECK(q.values.at(q.layers[4].nodes.input).range.high == 31);
    CHECK(q.values.at(q.layers[5].nodes.input).range.high == 255);
    CHECK(phase->state().report.back().second ==
          "8 layers, weights of 2 to 8 bits, values of 5 to 8 bits; ranges ema");
    CHECK(phase->state().tables.at("quant")[2][3] == "2");  // layer1.0.conv1
  }
}

TEST_CASE("minmax: each layer is packed in the bits it has") {
  TestPhase phase = minmax(
      "weight_bits: 4, activation_bits: 32, overrides: {\"layer1.*\": {weight_bits: 2}, last: "
      "{weight_bits: 8}}",
      {"phases.sparse.train.epochs=1"});
  train_to_end(phase);
  std::map<std::string, std::optional<PackedFormat>> formats;
  for (const PackedWeight& w : phase->state().packed) formats[w.path] = packed_format_of(w.codes);
  CHECK(formats.at("layer1.0.conv1.weight") == PackedFormat::kTrit2);
  CHECK(formats.at("layer2.0.conv1.weight") == PackedFormat::kInt4);
  CHECK(!formats.at("linear.weight"));  // a byte each
  CHECK(phase->state().report.back().second.find("weights of 2 to 8 bits, values in reals") !=
        std::string::npos);
}

TEST_CASE("minmax: overrides that say what is so anyway change no bit") {
  const auto trained = [](const std::string& knobs) {
    TestPhase phase = minmax(knobs, {"phases.sparse.train.epochs=1"});
    train_to_end(phase);
    return values_of(phase);
  };
  const auto plain = trained("");
  CHECK(plain == trained("overrides: {\"*\": {weight_bits: 8, activation_bits: 8}}"));
  CHECK(plain != trained("overrides: {\"*\": {weight_bits: 7}}"));
}

TEST_CASE("minmax: training at few bits recovers what rounding alone costs") {
  TestPhase phase =
      minmax("weight_bits: 2, activation_bits: 3",
             {"phases.sparse.train.epochs=6", "phases.sparse.optim.lr=0.05"}, "vgg_bn_28");
  phase->start();
  phase.steps(1);
  const double rounded = phase.mean("loss");
  while (phase->epoch < 5) finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < 0.7 * rounded);
}

TEST_CASE("minmax: filters and weights that go in the same phase leave the codes of what stays") {
  for (const std::string other :
       {"l1_filters: {rate: 0.5}", "magnitude: {rate: 0.9, rounds: 1, scope: layer}"}) {
    for (const bool is_first : {true, false}) {
      CAPTURE(other);
      CAPTURE(is_first);
      const std::string own = "minmax: {}";
      TestPhase phase =
          pruning_phase("{" + (is_first ? own : other) + ", " + (is_first ? other : own) + "}",
                        {"phases.sparse.train.epochs=1"});
      phase->start();
      finish_epoch(phase);
      const Tensor images = phase.images(8), trained = phase->network().logits(images);
      phase->finish();
      check_deployed(phase, images, trained);
      CHECK(phase->state().masked_compact_max_rel <= 1e-5);
      if (other.starts_with("magnitude"))
        CHECK(zeros_in(integers_of(phase).layers[2].weight.to_vector()) >= 64 * 32 * 9 * 4 / 5);
      if (other.starts_with("l1_filters"))
        CHECK(phase->network().parameter("features.4.weight").value().dim(0) == 16);
    }
  }
}

TEST_CASE(
    "minmax: the network of a pruning phase learns on integers from a teacher, and is reported "
    "on them") {
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
  quantized: {from: pruned, compress: {minmax: {}, kd: {teacher: dense}}}
)");
  const ProcessResult run =
      run_vtrain({folder / "recipe.yaml", "--quiet", "out.dir=" + (folder / "out")});
  REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
  const auto file = [&](const std::string& name) {
    return (only_run(folder / "out") / name).string();
  };
  const std::string json = file_content(file("result.json"));
  CAPTURE(json);
  CHECK(json.find("\"executor\":\"plan int8\",\"kind\":\"dense-smaller + packed\"") !=
        std::string::npos);
  CHECK(json.find("\"simulated_deployed_max_lsb\":null") == std::string::npos);
  CHECK(json.find(str("\"bytes\":", file_content(file("quantized.int8.safetensors")).size(),
                      ',')) != std::string::npos);
  CHECK(file_content(file("quantized.int8.safetensors")).size() * 3 <
        file_content(file("pruned.safetensors")).size());
  // Weights in reals are those of the codes: the file can be trained on.
  const auto reals = Network::load(file("quantized.safetensors"));
  CHECK(most_values_in_a_row(reals->parameter("features.4.weight").value().to_vector(), 16) <= 255);

  const ProcessResult eval = run_vtrain(
      {"eval", file("quantized.int8.safetensors"), "--data", "synthetic", "--threads", "2"});
  CHECK_MESSAGE(eval.exit_code == 0, eval.errors);
  const size_t at = json.find("\"quantized\":{\"top1_percent\":") + 28;
  CHECK(eval.output.find("Acc@1 " + json.substr(at, json.find(',', at) - at).substr(0, 4)) !=
        std::string::npos);
  const ProcessResult exported =
      run_vtrain({"export", file("quantized.int8.safetensors"), folder / "out.safetensors",
                  "--int8", "--data", "synthetic", "--threads", "2"});
  CHECK_MESSAGE(exported.exit_code == 0, exported.errors);
  CHECK(file_content(folder / "out.safetensors") ==
        file_content(file("quantized.int8.safetensors")));
}

TEST_CASE("minmax: a run that is killed ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_minmax.yaml",
      {"data.name=synthetic", "data.val=0.25", "phases.dense.train.epochs=1",
       "phases.quantized.train.epochs=3", "+phases.quantized.ema.decay=0.9",
       "+phases.quantized.compress.minmax.overrides={last: {weight_bits: 3, activation_bits: 5}}"},
      {14, 30}, {"quantized.safetensors", "quantized.int8.safetensors", "quantized.quant.csv"});
}

TEST_CASE("minmax: another device gives the bits of the CPU") {
  check_same_on_fake_device("{minmax: {}}");
  check_same_on_fake_device("{minmax: {bn: correct, range: mse, weight_range: mse}}");
}

TEST_CASE("minmax: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(minmax(knobs), doctest::Contains(message), RecipeError);
  };
  refused("weight_bits: 1", "weight_bits: expected an integer in [2, 32], got 1");
  refused("weight_bits: 9", "expected 2 to 8 for codes of a byte, or 32 for none, got 9");
  refused("activation_bits: 16", "activation_bits: expected 2 to 8");
  refused("activation_bits: 32, overrides: {last: {activation_bits: 8}}",
          "minmax.overrides.last.activation_bits: has no effect beside activation_bits 32");
  refused("weight_bits: 32, activation_bits: 32, overrides: {last: {weight_bits: 8}}",
          "minmax.overrides.last.weight_bits: has no effect beside weight_bits 32");
  refused("skip: [last], overrides: {last: {weight_bits: 2}}",
          "minmax.overrides.last: matches no layer that is rounded");
  refused("range: lsq", "range: expected one of");
  refused("layers: [conv9]", "minmax.layers: conv9 matches no layer");
  refused("skip: [\"blocks.*\"]", "minmax.skip: blocks.* matches no layer");
  refused("skip: [\"*\"]", "leave no layer of resnet8_28 to round");
  refused("range: minmax, ema_decay: 0.5", "ema_decay: has no effect with range minmax");
  refused("percentile: 0.5", "percentile: has no effect with range ema");
  refused("weight_steps: 5", "weight_steps: has no effect with weight_range current");
  refused("activation_bits: 32, range: mse", "range: has no effect on values of 32 bits");
  refused("weight_bits: 32, activation_bits: 32, bn: folded",
          "bn: has no effect on weights of 32 bits");
  refused("weight_bits: 32", "expected 32 beside weights of 32 bits");
  CHECK_THROWS_WITH_AS(minmax("", {}, "test_unreachable_sum"),
                       doctest::Contains("its input cannot be quantized: no module's input or "
                                         "output is this value"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
