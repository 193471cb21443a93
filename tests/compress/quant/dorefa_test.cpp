// DoReFa-Net, arXiv:1606.06160: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
#include "compress/deploy/plan.h"
#include "tests/composition.h"
#include "tests/compress/distill/checks.h"
#include "tests/quantizing.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("dorefa", "{}", "{}");

using doctest::Approx;

const std::string kWeight = "layer2.0.conv2.weight";

TestPhase dorefa(const std::string& knobs, std::vector<std::string> overrides = {},
                 const std::string& model = "resnet8_28") {
  return pruning_phase("{dorefa: {" + knobs + "}}", std::move(overrides), model);
}

TEST_CASE("dorefa: with 32 bits everywhere it is plain training, bit for bit") {
  TestPhase plain = pruning_phase("{}", {}, "resnet8_28"),
            none = dorefa("weight_bits: 32, activation_bits: 32, gradient_bits: 32");
  train_to_end(plain);
  train_to_end(none);
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("dorefa: weights of two bits are -1, -1/3, 1/3 and 1, of one bit the mean size") {
  TestPhase two = dorefa("weight_bits: 2"), one = dorefa("weight_bits: 1"),
            three = dorefa("weight_bits: 3");
  const std::vector<double> w = values_of(two, kWeight), q = effective_weight(two, kWeight);
  const std::set<double> levels(q.begin(), q.end());
  const std::vector<double> expected = {-1, -1.0 / 3, 1.0 / 3, 1};
  REQUIRE(levels.size() == 4);
  size_t k = 0;
  for (const double level : levels) CHECK(level == Approx(expected[k++]).epsilon(1e-6));
  // The nearest level to tanh(w) / max |tanh(w)|.
  double most = 0, sum = 0;
  for (const double x : w) {
    most = std::max(most, std::abs(std::tanh(x)));
    sum += std::abs(x);
  }
  for (size_t i = 0; i < w.size(); ++i)
    CHECK(std::abs(q[i] - std::tanh(w[i]) / most) <= 1.0 / 3 + 1e-6);
  const double size = sum / static_cast<double>(w.size());
  const std::vector<double> b = effective_weight(one, kWeight);
  for (size_t i = 0; i < w.size(); ++i)
    CHECK(b[i] == Approx(w[i] >= 0 ? size : -size).epsilon(1e-6));
  CHECK(most_values_in_a_row(effective_weight(three, kWeight), 1) == 8);
  CHECK(most_values_in_a_row(effective_weight(two, "conv1.weight"), 1) > 60);  // skipped
}

TEST_CASE(
    "dorefa: the gradient of a weight is that of tanh over its largest, which detach_max cuts") {
  // Binary weights hand g on whole; the same codes of two bits show what tanh makes of it. One
  // layer is rounded, whose weights are +-0.4 but for one of 0.5, so that both forms compute the
  // same network up to a factor that batch norm takes away.
  const auto moved = [](const std::string& knobs) {
    TestPhase phase =
        dorefa("weight_bits: 2, activation_bits: 32, layers: [linear], skip: [], " + knobs);
    std::vector<double> w;
    for (int i = 0; i < 320; ++i) w.push_back(i == 17 ? 0.5 : 0.4 - 0.002 * (i % 11));
    phase->network().parameter("linear.weight").set(from_values({10, 32}, w));
    phase->start();
    w = values_of(phase, "linear.weight");
    phase.steps(1);
    std::vector<double> step = values_of(phase, "linear.weight");
    for (size_t i = 0; i < step.size(); ++i) step[i] -= w[i];
    return step;
  };
  const std::vector<double> kept = moved("detach_max: false"), cut = moved("detach_max: true");
  for (size_t i = 0; i < kept.size(); ++i) {
    CAPTURE(i);
    if (i != 17) CHECK(kept[i] == cut[i]);
  }
  // With g_i = step_i max / (1 - t_i^2) / -lr: the largest gets -sum g t / max^2 besides.
  const double most = std::tanh(0.5);
  double sum = 0;
  for (size_t i = 0; i < cut.size(); ++i) {
    const double t = std::tanh(i == 17 ? 0.5 : 0.4 - 0.002 * static_cast<double>(i % 11));
    sum += cut[i] * most / (1 - t * t) * t;
  }
  const double extra = -sum / (most * most) * (1 - most * most);
  CHECK(std::abs(extra) > 1e-6);
  CHECK(kept[17] - cut[17] == Approx(extra).epsilon(1e-2));
}

TEST_CASE("dorefa: values are on 2^bits levels of [0, 1]") {
  for (const int bits : {1, 2, 4}) {
    CAPTURE(bits);
    TestPhase phase = dorefa(str("activation_bits: ", bits));
    const Tap tap = phase->network().hooks().tap("layer1.0.act1.out", "test");
    phase->network().logits(phase.images(8));
    const std::vector<double> x = tap.value().value().to_vector();
    const std::set<double> levels(x.begin(), x.end());
    CHECK(levels.size() <= (size_t{1} << bits));
    CHECK(levels.size() >= 2);
    CHECK(*levels.begin() == 0);
    CHECK(*levels.rbegin() <= 1.0000001);
    for (const double level : levels) {
      const double code = level * ((1 << bits) - 1);
      CHECK(code == Approx(std::nearbyint(code)).epsilon(1e-6));
    }
  }
}

TEST_CASE("dorefa: gradient_bits add noise to gradients and nothing to the forward pass") {
  const auto after = [](const std::string& knobs, const std::string& seed = "3") {
    TestPhase phase = dorefa("weight_bits: 2, " + knobs, {"seed=" + seed});
    phase->start();
    phase.steps(1);
    return std::pair{phase.mean("loss"), values_of(phase, kWeight)};
  };
  const auto real = after("gradient_bits: 32"), four = after("gradient_bits: 4"),
             two = after("gradient_bits: 2");
  CHECK(four.first == real.first);
  CHECK(four.second != real.second);
  CHECK(after("gradient_bits: 4").second == four.second);
  const auto distance = [&](const std::vector<double>& w) {
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += (w[i] - real.second[i]) * (w[i] - real.second[i]);
    return sum;
  };
  CHECK(distance(two.second) > 2 * distance(four.second));
}

TEST_CASE("dorefa: what was trained is what is deployed, codes packed in the file") {
  struct Case {
    const char *knobs, *format;
  };
  for (const Case& each : {Case{"weight_bits: 1, activation_bits: 2", "bits1"},
                           Case{"weight_bits: 1, activation_bits: 1", "bits1"},
                           Case{"weight_bits: 3, activation_bits: 4", "int4"},
                           Case{"weight_bits: 4, activation_bits: 8", "odd4"},
                           Case{"weight_bits: 7, activation_bits: 8", ""}}) {
    CAPTURE(each.knobs);
    TestPhase phase = dorefa(each.knobs, {"phases.sparse.train.epochs=1"});
    phase->start();
    finish_epoch(phase);
    const Tensor images = phase.images(8), trained = phase->network().logits(images);
    phase->finish();
    // A code of one or two bits is a quarter of the range and more: a tie that turns is seen.
    check_deployed(phase, images, trained, /*tolerance=*/0.1);
    const TemporaryFolder folder;
    const auto& [quantization, record] = phase->state().integers.at("dorefa");
    save_int8(folder / "q", phase->network(), Graph(phase->network()), quantization, record);
    const std::string json = read_safetensors(folder / "q").metadata.at("int8");
    CAPTURE(json);
    const std::string packed = str('"', kWeight, "\":\"", each.format, '"');
    CHECK((json.find(packed) != std::string::npos) == (*each.format != 0));
    const Int8Network read = load_int8(folder / "q");
    Plan before(phase->network(), quantization), after(*read.network, read.quantization);
    CHECK(before.run(images).to_vector() == after.run(images).to_vector());
  }
}

TEST_CASE("dorefa: overrides give single layers other bits, and what was trained is deployed") {
  TestPhase phase = dorefa(
      "weight_bits: 1, activation_bits: 4, detach_max: true, overrides: {layer2.0.conv1: "
      "{weight_bits: 2, activation_bits: 8}, \"layer3.*\": {weight_bits: 4}}",
      {"phases.sparse.train.epochs=1"});
  phase->start();
  finish_epoch(phase);
  const auto distinct = [&](const std::string& path) {
    return most_values_in_a_row(effective_weight(phase, path), 1);
  };
  CHECK(distinct("layer1.0.conv1.weight") == 2);
  CHECK(distinct("layer2.0.conv1.weight") == 4);
  CHECK(distinct("layer3.0.conv1.weight") > 8);
  CHECK(distinct("layer3.0.conv1.weight") <= 16);
  const Tensor images = phase.images(8), trained = phase->network().logits(images);
  phase->finish();
  check_deployed(phase, images, trained, /*tolerance=*/0.1);
  const Quantization& q = integers_of(phase);
  CHECK(q.values.at(q.layers[1].nodes.input).range.high == 15);
  CHECK(q.values.at(q.layers[2].nodes.input).range.high == 255);
  CHECK(phase->state().report.back().second ==
        "6 layers, weights of 1 to 4 bits, values of 4 to 8 bits");
}

TEST_CASE("dorefa: overrides that say what is so anyway change no bit") {
  const auto trained = [](const std::string& knobs) {
    TestPhase phase = dorefa(knobs, {"phases.sparse.train.epochs=1"});
    train_to_end(phase);
    return values_of(phase);
  };
  const auto plain = trained("");
  CHECK(plain == trained("overrides: {\"layer2.*\": {weight_bits: 1, activation_bits: 2}}"));
  CHECK(plain != trained("overrides: {\"layer2.*\": {weight_bits: 2}}"));
}

TEST_CASE("dorefa: an integer file with an unknown packing is refused") {
  TestPhase phase = dorefa("weight_bits: 1", {"phases.sparse.train.epochs=1"});
  train_to_end(phase);
  const TemporaryFolder folder;
  const auto& [quantization, record] = phase->state().integers.at("dorefa");
  save_int8(folder / "q", phase->network(), Graph(phase->network()), quantization, record);
  NamedTensors file = read_safetensors(folder / "q");
  std::string& json = file.metadata.at("int8");
  json.replace(json.find("\"bits1\""), 7, "\"bits3\"");
  write_safetensors(folder / "q", file);
  CHECK_THROWS_WITH_AS(
      load_int8(folder / "q"),
      doctest::Contains("expected one of bits1, trit2, int4, odd4, pow2n, pow2w, got bits3"),
      CheckpointError);
}

TEST_CASE("dorefa: weights alone are packed, and computed with in reals") {
  TestPhase phase = dorefa("weight_bits: 1, activation_bits: 32", {"phases.sparse.train.epochs=1"});
  phase->start();
  finish_epoch(phase);
  const Tensor images = phase.images(8), trained = phase->network().logits(images);
  phase->finish();
  CHECK(phase->network().logits(images).to_vector() == trained.to_vector());
  REQUIRE(phase->state().packed.size() == 6);
  int64_t expected = 0;
  for (const PackedWeight& w : phase->state().packed)
    expected += w.codes.dim(0) * ((w.codes.numel() / w.codes.dim(0) + 7) / 8) + 4;
  CHECK(packed_size(phase->state().packed).bytes == expected);
  const TemporaryFolder folder;
  save_packed(folder / "p", phase->network(), phase->state().packed);
  CHECK(load_packed(folder / "p")->logits(images).to_vector() == trained.to_vector());
}

TEST_CASE("dorefa: training moves the loss that few bits cost") {
  TestPhase phase = dorefa("weight_bits: 2, activation_bits: 4, gradient_bits: 8",
                           {"phases.sparse.train.epochs=6", "phases.sparse.optim.lr=0.02",
                            "phases.sparse.optim.momentum=0.9"},
                           "vgg_bn_28");
  phase->start();
  phase.steps(1);
  const double first = phase.mean("loss");
  while (phase->epoch < 5) finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < 0.7 * first);
}

TEST_CASE("dorefa: a run that is killed ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_dorefa.yaml",
      {"data.name=synthetic", "data.val=0.25", "phases.dense.train.epochs=1",
       "phases.binary.train.epochs=2", "phases.binary.compress.dorefa.gradient_bits=6",
       "+phases.binary.ema.decay=0.9"},
      {14, 30}, {"binary.safetensors", "binary.int8.safetensors", "binary.quant.csv"});
}

TEST_CASE("dorefa: another device gives the bits of the CPU") {
  check_same_on_fake_device("{dorefa: {weight_bits: 2, gradient_bits: 6}}");
}

TEST_CASE("dorefa: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(dorefa(knobs), doctest::Contains(message), RecipeError);
  };
  refused("weight_bits: 0", "dorefa.weight_bits: expected an integer in [1, 32], got 0");
  refused("weight_bits: 8", "use minmax or lsq");
  refused("weight_bits: 9", "expected 1 to 7, or 32 for none, got 9");
  refused("activation_bits: 9", "activation_bits: expected at most 8, or 32 for none, got 9");
  refused("gradient_bits: 1", "gradient_bits: expected an integer in [2, 32], got 1");
  refused("weight_bits: 32", "expected 32 beside weights of 32 bits");
  refused("detach_max: true", "detach_max: has no effect on weights of 1 bits");
  refused("overrides: {\"*\": {weight_bits: 8}}", "weight_bits: expected 1 to 7, got 8");
  refused("overrides: {\"*\": {activation_bits: 9}}", "activation_bits: expected 1 to 8, got 9");
  refused("overrides: {last: {weight_bits: 2}}", "last: matches no layer that is rounded");
  refused("overrides: {\"*\": {gradient_bits: 4}}", "gradient_bits: unknown key");
  refused("layers: [conv9]", "dorefa.layers: conv9 matches no layer");
  refused("activation_bits: 1, skip: [last]", "images has values of either sign");
  CHECK_THROWS_WITH_AS(pruning_phase("{dorefa: {}, lsq: {}}"),
                       doctest::Contains("dorefa and lsq both want the quantize slot"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(pruning_phase("{magnitude: {rounds: 1}, dorefa: {}}"),
                       doctest::Contains("magnitude masks features.4.weight, and dorefa"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(pruning_phase("{dorefa: {}, magnitude: {rounds: 1}}"),
                       doctest::Contains("magnitude masks features.4.weight, and dorefa"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
