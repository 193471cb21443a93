// Learned step sizes, arXiv:1902.08153: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/int8_file.h"
#include "compress/deploy/plan.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/process.h"
#include "tests/quantizing.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("lsq", "{weight_bits: 4, activation_bits: 4}",
                           "{weight_bits: 4, activation_bits: 4}");

using doctest::Approx;

TestPhase lsq(const std::string& knobs, std::vector<std::string> overrides = {},
              const std::string& model = "resnet8_28") {
  return pruning_phase("{lsq: {" + knobs + "}}", std::move(overrides), model);
}

Parameter step_of(TestPhase& phase, const std::string& name) {
  for (const auto& [path, helper] : phase->state().helpers) {
    for (const Parameter& p : helper->parameters()) {
      if (p.path() == "compress.lsq.steps." + name) return p;
    }
  }
  FAIL("no step of ", name);
  return {};
}
double step_value(TestPhase& phase, const std::string& name) {
  return step_of(phase, name).value().to_vector()[0];
}

double mean_size(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += std::abs(v);
  return sum / static_cast<double>(x.size());
}

TEST_CASE("lsq: steps start at 2 mean|v| / sqrt(Qp), those of values from a first batch") {
  TestPhase phase = lsq("weight_bits: 3, activation_bits: 4");
  phase->start();
  CHECK(step_value(phase, "layer1.0.conv1.weight") ==
        Approx(2 * mean_size(values_of(phase, "layer1.0.conv1.weight")) / std::sqrt(3.0))
            .epsilon(1e-6));
  // The first layer has eight bits, on 127 codes of a sign, and reads the images with as many.
  CHECK(step_value(phase, "conv1.weight") ==
        Approx(2 * mean_size(values_of(phase, "conv1.weight")) / std::sqrt(127.0)).epsilon(1e-6));
  const Tensor images = phase->state().samples(64).at(0).images;
  CHECK(step_value(phase, "images") ==
        Approx(2 * mean_size(images.to_vector()) / std::sqrt(127.0)).epsilon(1e-6));
}

TEST_CASE("lsq: a step moves by the paper's gradient, and weights inside by the plain one") {
  // No weight is beyond the codes: with dw = -lr g, ds = sum of dw (rne(v) - v) / sqrt(N Qp).
  for (const bool scales : {true, false}) {
    CAPTURE(scales);
    TestPhase phase = lsq(str("weight_bits: 4, activation_bits: 8, scale_gradient: ", scales),
                          {"phases.sparse.optim.lr=0.05"});
    phase->start();
    const std::string weight = "layer2.0.conv2.weight";
    const double s = 1.0 / 16;
    step_of(phase, weight).set(from_values({1}, {s}));
    std::vector<double> w;
    for (int i = 0; i < 16 * 16 * 9; ++i) w.push_back(s * (0.37 * (i % 17) - 3));
    phase->network().parameter(weight).set(from_values({16, 16, 3, 3}, w));
    w = values_of(phase, weight);
    phase.steps(1);
    const std::vector<double> moved = values_of(phase, weight);
    double expected = 0;
    for (size_t i = 0; i < w.size(); ++i)
      expected += (moved[i] - w[i]) * (std::nearbyint(w[i] / s) - w[i] / s);
    if (scales) expected /= std::sqrt(16.0 * 16 * 9 * 7);
    CHECK(expected != 0);
    // f32 holds a weight of 0.2 and how little it moved to four digits.
    CHECK(step_value(phase, weight) - s == Approx(expected).epsilon(2e-3));
  }
}

TEST_CASE("lsq: bits are those of weights, of values, and of the first and last layer") {
  TestPhase phase = lsq("weight_bits: 2, activation_bits: 3, first_last_bits: 5");
  phase->start();
  phase.steps(1);
  const auto distinct = [&](const std::string& path) {
    return most_values_in_a_row(effective_weight(phase, path), 1);
  };
  CHECK(distinct("layer1.0.conv2.weight") == 4);
  CHECK(distinct("linear.weight") > 8);
  CHECK(distinct("linear.weight") <= 32);
  while (phase->epoch < 2) finish_epoch(phase);
  phase->finish();
  const Quantization& q = integers_of(phase);
  CHECK(q.values.at(q.layers[0].nodes.input).range == CodeRange{.low = -16, .high = 15});
  CHECK(q.values.at(q.layers[1].nodes.input).range == CodeRange{.low = 0, .high = 7});
  CHECK(q.values.at(q.layers[7].nodes.input).range == CodeRange{.low = 0, .high = 31});
}

TEST_CASE("lsq: overrides give single layers other bits, the first and the last one too") {
  const std::string knobs =
      "weight_bits: 3, activation_bits: 4, overrides: {\"layer1.*\": {weight_bits: 2}, "
      "layer3.0.conv2: {weight_bits: 6, activation_bits: 8}, last: {weight_bits: 4}}";
  TestPhase phase = lsq(knobs, {"phases.sparse.train.epochs=1"});
  phase->start();
  finish_epoch(phase);
  const auto distinct = [&](const std::string& path) {
    return most_values_in_a_row(effective_weight(phase, path), 1);
  };
  CHECK(distinct("layer1.0.conv2.weight") == 4);
  CHECK(distinct("layer2.0.conv2.weight") == 8);
  CHECK(distinct("layer3.0.conv2.weight") > 16);
  CHECK(distinct("layer3.0.conv2.weight") <= 64);
  CHECK(distinct("linear.weight") <= 16);
  CHECK(distinct("linear.weight") > 8);
  CHECK(distinct("conv1.weight") > 16);  // 8 bits, as the first layer has
  const Tensor images = phase.images(8), trained = phase->network().logits(images);
  phase->finish();
  check_deployed(phase, images, trained);
  const Quantization& q = integers_of(phase);
  CHECK(q.values.at(q.layers[1].nodes.input).range == CodeRange{.low = 0, .high = 15});
  CHECK(q.values.at(q.layers[6].nodes.input).range == CodeRange{.low = 0, .high = 255});
  CHECK(phase->state().report.back().second ==
        "8 layers, weights of 2 to 8 bits, values of 4 to 8 bits");
}

TEST_CASE("lsq: overrides that say what is so anyway change no bit") {
  const auto trained = [](const std::string& knobs) {
    TestPhase phase = lsq(knobs, {"phases.sparse.train.epochs=1"});
    train_to_end(phase);
    return values_of(phase);
  };
  const auto plain = trained("");
  CHECK(plain == trained("overrides: {}"));
  CHECK(plain == trained("overrides: {\"layer*\": {weight_bits: 4, activation_bits: 4}, first: "
                         "{weight_bits: 8}}"));
  CHECK(plain != trained("overrides: {\"layer*\": {weight_bits: 5}}"));
}

TEST_CASE("lsq: per_channel has a step for each output channel, and refuses to be cut meanwhile") {
  TestPhase phase = lsq("per_channel: true");
  phase->start();
  const std::vector<double> w = values_of(phase, "layer1.0.conv1.weight"),
                            s = step_of(phase, "layer1.0.conv1.weight").value().to_vector();
  REQUIRE(s.size() == 8);
  CHECK(s[3] == Approx(2 * mean_size({w.begin() + 3 * 72, w.begin() + 4 * 72}) / std::sqrt(7.0))
                    .epsilon(1e-6));
  TestPhase cut = pruning_phase("{lsq: {per_channel: true}, l1_filters: {rate: 0.5}}");
  CHECK_THROWS_WITH_AS(cut->start(), doctest::Contains("expected the cut in an earlier phase"),
                       RecipeError);
}

TEST_CASE("lsq: step_lr scales how far steps move, and steps do not decay") {
  const auto moved = [](const std::string& knobs) {
    TestPhase phase = lsq(knobs, {"phases.sparse.optim.weight_decay=0.5"});
    phase->start();
    const double before = step_value(phase, "layer3.0.conv1.weight");
    phase.steps(1);
    return step_value(phase, "layer3.0.conv1.weight") - before;
  };
  const double once = moved("");
  CHECK(std::abs(once) < 1e-3);  // decay would take 0.01 * 0.5 of it
  CHECK(moved("step_lr: 10") == Approx(10 * once).epsilon(1e-2));
}

TEST_CASE("lsq: a step that would cross 0 stays above it") {
  TestPhase phase = lsq("step_lr: 1.0e+6", {"phases.sparse.train.epochs=1"});
  phase->start();
  phase.steps(1);
  const auto& steps = phase->state().helpers.at("compress.lsq.steps");
  for (const Parameter& p : steps->parameters())
    for (const double s : p.value().to_vector()) CHECK(s >= std::ldexp(1.0, -24));
}

TEST_CASE("lsq: what was trained is what is deployed, with norms of either sign") {
  for (const std::string knobs :
       {"", "weight_bits: 8, activation_bits: 8", "weight_bits: 2, activation_bits: 2",
        "per_channel: true, skip: [layer2.0.conv1]"}) {
    CAPTURE(knobs);
    TestPhase phase = lsq(knobs, {"phases.sparse.train.epochs=1"});
    phase->start();
    std::vector<double> gamma(16, 1);
    gamma[3] = -0.75;
    phase->network().parameter("layer2.0.bn2.weight").set(from_values({16}, gamma));
    finish_epoch(phase);
    const Tensor images = phase.images(8), trained = phase->network().logits(images);
    phase->finish();
    check_deployed(phase, images, trained);
    // A file keeps it.
    const TemporaryFolder folder;
    const auto& [quantization, record] = phase->state().integers.at("lsq");
    save_int8(folder / "q", phase->network(), Graph(phase->network()), quantization, record);
    const Int8Network read = load_int8(folder / "q");
    Plan before(phase->network(), quantization), after(*read.network, read.quantization);
    CHECK(before.run(images).to_vector() == after.run(images).to_vector());
  }
}

TEST_CASE("lsq: a transformer's values have signed codes where others have a zero point") {
  TestPhase phase("{lsq: {weight_bits: 4, activation_bits: 8}}", {"phases.sparse.train.epochs=1"});
  phase->start();
  finish_epoch(phase);
  const Tensor images = phase.images(8), trained = phase->network().logits(images);
  phase->finish();
  // Norms and softmax in between carry a turned code further than convolutions do.
  check_deployed(phase, images, trained, /*tolerance=*/0.06);
  const TemporaryFolder folder;
  const auto& [quantization, record] = phase->state().integers.at("lsq");
  save_int8(folder / "q", phase->network(), Graph(phase->network()), quantization, record);
  for (const auto& [value, type] : load_int8(folder / "q").quantization.values)
    CHECK(type.range.zero_point == 0);
}

TEST_CASE("lsq: training at few bits recovers what rounding alone costs") {
  TestPhase phase =
      lsq("weight_bits: 3, activation_bits: 3",
          {"phases.sparse.train.epochs=6", "phases.sparse.optim.lr=0.05"}, "vgg_bn_28");
  phase->start();
  phase.steps(1);
  const double rounded = phase.mean("loss");
  while (phase->epoch < 5) finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < 0.7 * rounded);
}

TEST_CASE("lsq: filters that another method cuts take nothing from the steps") {
  TestPhase phase = pruning_phase("{lsq: {}, l1_filters: {rate: 0.5}}",
                                  {"phases.sparse.train.epochs=1", "+phases.sparse.ema.decay=0.5"});
  phase->start();
  finish_epoch(phase);
  phase->finish();
  CHECK(integers_of(phase).layers[1].weight.dim(0) == 16);
}

TEST_CASE("lsq: a run that is killed ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_lsq.yaml",
      {"data.name=synthetic", "data.val=0.25", "phases.dense.train.epochs=1",
       "phases.quantized.train.epochs=2", "+phases.quantized.ema.decay=0.9",
       "phases.quantized.compress.lsq.overrides={\"layer2.*\": {weight_bits: 5}}"},
      {14, 20}, {"quantized.safetensors", "quantized.int8.safetensors", "quantized.quant.csv"});
}

TEST_CASE("lsq: another device gives the bits of the CPU") {
  check_same_on_fake_device("{lsq: {}}");
}

TEST_CASE("lsq: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(lsq(knobs), doctest::Contains(message), RecipeError);
  };
  refused("weight_bits: 1", "lsq.weight_bits: expected an integer in [2, 8], got 1");
  refused("activation_bits: 9", "activation_bits: expected an integer in [2, 8], got 9");
  refused("first_last_bits: 0", "first_last_bits: expected an integer in [2, 8], got 0");
  refused("overrides: {conv9: {weight_bits: 2}}",
          "lsq.overrides.conv9: matches no layer that is rounded");
  refused("overrides: {last: {weight_bits: 32}}", "a layer that stays real belongs in skip");
  refused("step_lr: 0", "step_lr: expected a number above 0");
  refused("layers: [conv9]", "lsq.layers: conv9 matches no layer");
  refused("skip: [\"*\"]", "leave no layer of resnet8_28 to round");
  CHECK_THROWS_WITH_AS(pruning_phase("{lsq: {}, minmax: {}}"),
                       doctest::Contains("lsq and minmax both want the quantize slot"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
