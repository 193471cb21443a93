// Incremental network quantization, arXiv:1702.03044: identities, one test per knob, resume,
// misuse.
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

const TinyKnobs tiny_knobs("inq", "{portions: [0.5, 0.75, 1], epochs_per_stage: 1}",
                           "{portions: [0.5, 0.75, 1], epochs_per_stage: 1}");

using doctest::Approx;

const std::string kWeight = "layer2.0.conv2.weight";  // 16 x 16 x 3 x 3
constexpr int64_t kCount = 16 * 16 * 9;

TestPhase inq(const std::string& knobs, std::vector<std::string> overrides = {},
              const std::string& model = "resnet8_28") {
  return pruning_phase("{inq: {" + knobs + "}}", std::move(overrides), model);
}

std::vector<double> buffer_of(TestPhase& phase, const std::string& name) {
  for (const Parameter& p : phase->state().helpers.at("compress.inq.weights")->parameters()) {
    if (p.path() == "compress.inq.weights." + name) return p.value().to_vector();
  }
  FAIL("no buffer ", name);
  return {};
}

double largest(const std::vector<double>& w) {
  double most = 0;
  for (const double x : w) most = std::max(most, std::abs(x));
  return most;
}

/// The levels by the paper's formulas.
std::vector<double> levels_for(double most, int bits) {
  const double high = std::floor(std::log2(4 * most / 3)),
               low = high + 1 - std::pow(2, bits - 1) / 2;
  std::vector<double> levels{0};
  for (double e = low; e <= high; ++e) levels.push_back(std::exp2(e));
  return levels;
}

/// The paper's Q, level by level.
double rounded(double w, const std::vector<double>& levels) {
  const double size = std::abs(w);
  double value = size >= 1.5 * levels.back() ? levels.back() : 0;  // outgrown
  for (size_t l = 1; l < levels.size(); ++l) {
    if ((levels[l - 1] + levels[l]) / 2 <= size && size < 1.5 * levels[l]) value = levels[l];
  }
  return w < 0 ? -value : value;
}

std::vector<double> rounded(std::vector<double> w, int bits) {
  const std::vector<double> levels = levels_for(largest(w), bits);
  for (double& x : w) x = rounded(x, levels);
  return w;
}

void set_first(TestPhase& phase, const std::vector<double>& values) {
  Parameter weight = phase->network().parameter(kWeight);
  std::vector<double> w = weight.value().to_vector();
  std::ranges::fill(w, 0.0);
  std::ranges::copy(values, w.begin());
  weight.set(from_values(weight.value().shape(), w));
}

TEST_CASE("inq: a weight becomes the nearest of 0 and the powers of two, ties the larger one") {
  TestPhase phase = inq("bits: 3, portions: [1]");
  // The paper's example: 0.6 gives high = floor(log2(0.8)) = -1 and low = -2.
  set_first(phase, {0.6, -0.375, 0.3749, 0.1875, -0.125, 0.1249, -0.01, 0.5});
  phase->start();
  const std::vector<double> w = values_of(phase, kWeight);
  CHECK(std::vector<double>(w.begin(), w.begin() + 8) ==
        std::vector<double>{0.5, -0.5, 0.25, 0.25, -0.25, 0, 0, 0.5});
}

TEST_CASE("inq: bits say how many levels there are, and all weights are on them") {
  for (const int bits : {2, 3, 4, 5}) {
    CAPTURE(bits);
    TestPhase phase = inq(str("portions: [1], bits: ", bits));
    const std::vector<double> dense = values_of(phase, kWeight);
    phase->start();
    const std::vector<double> w = values_of(phase, kWeight);
    CHECK(w == rounded(dense, bits));
    CHECK(rounded(w, bits) == w);
    CHECK(most_values_in_a_row(w, 1) == (size_t{1} << (bits - 1)) + 1);
    CHECK(effective_weight(phase, kWeight) == w);
  }
}

TEST_CASE("inq: the largest weights come first, as many as portions say") {
  // Weights that learn stand still, so that they can be followed by hand.
  TestPhase phase = inq("bits: 4, portions: [0.3, 0.6, 1], epochs_per_stage: 1",
                        {"phases.sparse.optim.lr=1e-30"});
  const std::vector<double> dense = values_of(phase, kWeight),
                            levels = levels_for(largest(dense), 4);
  phase->start();
  for (const double portion : {0.3, 0.6, 1.0}) {
    CAPTURE(portion);
    const std::vector<double> learns = buffer_of(phase, kWeight + ".learns"),
                              w = values_of(phase, kWeight);
    CHECK(zeros_in(learns) == std::llround(portion * kCount));
    double least_chosen = 1e9, most_left = 0;
    for (size_t i = 0; i < learns.size(); ++i) {
      CHECK(w[i] == (learns[i] == 0 ? rounded(dense[i], levels) : dense[i]));
      double& bound = learns[i] == 0 ? least_chosen : most_left;
      bound = learns[i] == 0 ? std::min(bound, std::abs(dense[i]))
                             : std::max(bound, std::abs(dense[i]));
    }
    CHECK(least_chosen >= most_left);
    if (portion < 1) finish_epoch(phase);
  }
}

TEST_CASE("inq: what has its level keeps it under momentum and decay; the rest learns") {
  TestPhase phase = inq("portions: [0.3, 1], epochs_per_stage: 2",
                        {"phases.sparse.optim.momentum=0.9",
                         "phases.sparse.optim.weight_decay=0.05", "phases.sparse.optim.lr=0.05"});
  phase->start();
  const std::vector<double> learns = buffer_of(phase, kWeight + ".learns"),
                            before = values_of(phase, kWeight);
  finish_epoch(phase);
  const std::vector<double> after = values_of(phase, kWeight);
  NamedTensors file;
  phase->save(file);
  const std::vector<double> momentum =
      file.tensors.at("optimizer.momentum_buffer." + kWeight).to_vector();
  int64_t moved = 0;
  for (size_t i = 0; i < learns.size(); ++i) {
    if (learns[i] == 0) {
      CHECK(after[i] == before[i]);
      CHECK(momentum[i] == 0);
    } else {
      moved += after[i] != before[i] ? 1 : 0;
    }
  }
  CHECK(moved > (kCount - zeros_in(learns)) * 9 / 10);
  // Gradients stop at levels too: clipping sees the norm of what learns.
  Pass pass;
  pass.wants_grad = true;
  pass.hooks = &phase->network().hooks();
  const Parameter weight = phase->network().parameter(kWeight);
  weight.clear_grad();
  backward(weight.effective_full(pass), ones(weight.value().shape()));
  CHECK(weight.grad().to_vector() == learns);
  // The second stage leaves the first as it is.
  finish_epoch(phase);
  const std::vector<double> end = values_of(phase, kWeight);
  for (size_t i = 0; i < learns.size(); ++i) {
    if (learns[i] == 0) CHECK(end[i] == before[i]);
  }
}

TEST_CASE("inq: with portions [1] it is rounding once, and only biases and norms learn on") {
  TestPhase phase = inq("bits: 5, portions: [1]", {"phases.sparse.optim.lr=0.05"});
  std::map<std::string, std::vector<double>> dense = values_of(phase);
  phase->start();
  phase.steps(3);
  phase->finish();
  int64_t weights = 0, others = 0;
  for (const auto& entry : values_of(phase)) {
    const std::string& name = entry.first;
    const std::vector<double>& values = entry.second;
    CAPTURE(name);
    const bool is_weight = name == "linear.weight" ||
                           (name.find("conv") != std::string::npos && name.ends_with("weight"));
    if (is_weight) {
      CHECK(values == rounded(dense.at(name), 5));
      ++weights;
    } else if (name.ends_with(".bias")) {
      CHECK(values != dense.at(name));
      ++others;
    }
  }
  CHECK(weights >= 8);
  CHECK(others >= 8);
}

TEST_CASE("inq: a random partition is another one, and the same each time") {
  const auto chosen = [](const std::string& partition) {
    TestPhase phase = inq("portions: [0.5, 1], epochs_per_stage: 1, partition: " + partition);
    phase->start();
    return buffer_of(phase, kWeight + ".learns");
  };
  const std::vector<double> random = chosen("random"), largest_first = chosen("magnitude");
  CHECK(zeros_in(random) == kCount / 2);
  CHECK(random == chosen("random"));
  int64_t different = 0;
  for (size_t i = 0; i < random.size(); ++i) different += random[i] != largest_first[i] ? 1 : 0;
  CHECK(different > kCount / 3);
}

TEST_CASE(
    "inq: stages come epochs_per_stage apart, and until the last one is done nothing is best") {
  TestPhase phase =
      inq("portions: [0.25, 0.5, 1], epochs_per_stage: 2", {"phases.sparse.train.epochs=5"});
  phase->start();
  for (const double share : {0.25, 0.25, 0.5, 0.5, 1.0}) {
    CHECK(zeros_in(buffer_of(phase, kWeight + ".learns")) == std::llround(share * kCount));
    CHECK(phase->is_settled() == (share == 1));
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("inq.fixed_percent") == Approx(100));
}

TEST_CASE("inq: weights that outgrow their layer's levels become the largest of them") {
  TestPhase phase = inq("bits: 2, portions: [0.001, 1], epochs_per_stage: 1");
  set_first(phase, {0.5, 0.02, 0.01});
  phase->start();  // high = low = -1; two of 2304 weights have their levels
  CHECK(buffer_of(phase, kWeight + ".high") == std::vector<double>{-1});
  set_first(phase, {0.5, 0.02, -7});
  phase.steps(8);
  CHECK(values_of(phase, kWeight)[2] == -0.5);
}

TEST_CASE("inq: every layer is rounded unless skip names it") {
  TestPhase all = inq("portions: [1]"), most = inq("portions: [1], skip: [first, last]");
  all->start();
  most->start();
  CHECK(most_values_in_a_row(values_of(all, "conv1.weight"), 1) <= 17);
  CHECK(most_values_in_a_row(values_of(all, "linear.weight"), 1) <= 17);
  CHECK(most_values_in_a_row(values_of(most, "conv1.weight"), 1) > 60);
  CHECK(most_values_in_a_row(values_of(most, "linear.weight"), 1) > 300);
  CHECK(values_of(most, kWeight) == values_of(all, kWeight));
}

TEST_CASE("inq: the end is the network that was trained, in the bits of its levels") {
  struct Case {
    int bits;
    PackedFormat format;
    int64_t bits_stored;
  };
  for (const Case& c : {Case{2, PackedFormat::kTrit2, 2}, Case{3, PackedFormat::kInt4, 4},
                        Case{4, PackedFormat::kPow2n, 4}, Case{5, PackedFormat::kPow2w, 5}}) {
    CAPTURE(c.bits);
    TestPhase phase =
        inq(str("portions: [0.5, 1], epochs_per_stage: 1, bn_images: 0, bits: ", c.bits),
            {"phases.sparse.train.epochs=1"});
    phase->start();
    finish_epoch(phase);
    const Tensor images = phase.images(8), trained = phase->network().logits(images);
    phase->finish();
    CHECK(phase->network().hooks().empty());
    CHECK(phase->network().logits(images).to_vector() == trained.to_vector());
    const std::vector<PackedWeight>& packed = phase->state().packed;
    REQUIRE(packed.size() >= 8);
    int64_t expected = 0;
    for (const PackedWeight& w : packed) {
      const int64_t rows = w.codes.dim(0), length = w.codes.numel() / rows;
      if (w.path == kWeight) CHECK(packed_format_of(w.codes) == c.format);
      expected += rows * packed_row_bytes(w.codes.shape(), *packed_format_of(w.codes)) + 4;
      if (w.path == kWeight)
        CHECK(packed_row_bytes(w.codes.shape(), c.format) == (length * c.bits_stored + 7) / 8);
    }
    CHECK(packed_size(packed).bytes == expected);
    std::map<std::string, std::string> report;
    for (const auto& [row, text] : phase->state().report) report[row] = text;
    CHECK(report.at("powers of two").find(str(expected, " bytes with their scales")) !=
          std::string::npos);
    const TemporaryFolder folder;
    save_packed(folder / "p", phase->network(), packed);
    CHECK(load_packed(folder / "p")->logits(images).to_vector() == trained.to_vector());
  }
}

TEST_CASE("inq: overrides give single layers other levels, which files keep in their bits") {
  TestPhase phase =
      inq("bits: 5, portions: [0.5, 1], epochs_per_stage: 1, overrides: {\"layer2.*\": {bits: 2}, "
          "last: {bits: 3}}",
          {"phases.sparse.train.epochs=1"});
  train_to_end(phase);
  const auto distinct = [&](const std::string& path) {
    return most_values_in_a_row(values_of(phase, path), 1);
  };
  CHECK(distinct(kWeight) == 3);
  CHECK(distinct("linear.weight") == 5);
  CHECK(distinct("layer3.0.conv1.weight") > 5);
  CHECK(distinct("layer3.0.conv1.weight") <= 17);
  std::map<std::string, std::optional<PackedFormat>> formats;
  for (const PackedWeight& w : phase->state().packed) formats[w.path] = packed_format_of(w.codes);
  CHECK(formats.at(kWeight) == PackedFormat::kTrit2);
  CHECK(formats.at("linear.weight") == PackedFormat::kInt4);
  std::map<std::string, std::string> report;
  for (const auto& [row, text] : phase->state().report) report[row] = text;
  CHECK(report.at("powers of two").starts_with("8 layers of 2 to 5 bits, "));
}

TEST_CASE("inq: overrides that say what is so anyway change no bit") {
  const auto trained = [](const std::string& knobs) {
    TestPhase phase = inq("bits: 4, portions: [0.5, 1], epochs_per_stage: 1" + knobs,
                          {"phases.sparse.train.epochs=1"});
    train_to_end(phase);
    return values_of(phase);
  };
  const auto plain = trained("");
  CHECK(plain == trained(", overrides: {\"layer2.*\": {bits: 4}}"));
  CHECK(plain != trained(", overrides: {\"layer2.*\": {bits: 3}}"));
}

TEST_CASE("inq: bn_images measures norms again in the end") {
  for (const int bn_images : {0, 64}) {
    TestPhase phase = inq(str("bits: 2, portions: [1], bn_images: ", bn_images));
    phase->start();
    phase.steps(2);
    const std::vector<double> before = values_of(phase, "layer2.0.bn2.running_var");
    phase->finish();
    CHECK((values_of(phase, "layer2.0.bn2.running_var") == before) == (bn_images == 0));
  }
}

TEST_CASE("inq: an average of weights is evaluated and left on the levels") {
  TestPhase phase = inq("bits: 3, portions: [0.5, 1], epochs_per_stage: 1, bn_images: 0",
                        {"phases.sparse.train.epochs=1", "phases.sparse.ema.decay=0.9"});
  const std::vector<double> levels = levels_for(largest(values_of(phase, kWeight)), 3);
  phase->start();
  finish_epoch(phase);
  phase->finish();
  for (const double w : values_of(phase, kWeight)) CHECK(rounded(w, levels) == w);
}

TEST_CASE("inq: pruned weights stay zeros") {
  TestPhase phase = pruning_phase(
      "{inq: {portions: [0.9, 1], epochs_per_stage: 1}, magnitude: {rate: 0.6, rounds: 2, "
      "retrain_epochs: 1}}");
  phase->start();
  finish_epoch(phase);
  finish_epoch(phase);
  const std::vector<double> q = effective_weight(phase, "features.8.weight");
  const auto kept = static_cast<int64_t>(q.size()) - zeros_in(q);
  phase->finish();
  const std::vector<double> end = values_of(phase, "features.8.weight");  // without dead units
  CHECK(kept < static_cast<int64_t>(q.size()) * 2 / 3);
  CHECK(static_cast<int64_t>(end.size()) - zeros_in(end) <= kept);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("inq: what learns makes up for what no longer does; at once nothing could") {
  const auto losses = [](const std::string& portions) {
    TestPhase phase = inq("bits: 3, epochs_per_stage: 1, portions: " + portions,
                          {"phases.sparse.train.epochs=6", "phases.sparse.optim.lr=0.05",
                           "phases.sparse.optim.momentum=0.9"});
    phase->start();
    phase.steps(1);
    const double first = phase.mean("loss");
    while (phase->epoch < 5) finish_epoch(phase);
    phase->means.clear();
    finish_epoch(phase);
    return std::pair{first, phase.mean("loss")};
  };
  const auto [first, last] = losses("[0.3, 0.5, 0.7, 0.9, 1]");
  CHECK(last < 0.8 * first);
  CHECK(last < losses("[1]").second);
}

TEST_CASE("inq: a cut by another method takes levels along") {
  TestPhase phase = pruning_phase(
      "{inq: {portions: [0.5, 1], epochs_per_stage: 1}, l1_filters: {rate: 0.5, order: iterative}}",
      {"phases.sparse.optim.momentum=0.9"});
  phase->start();
  finish_epoch(phase);  // the first layer's filters go, and the second's kernels for them
  CHECK(buffer_of(phase, "features.4.weight.learns").size() == 32 * 8 * 9);
  phase.steps(2);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("inq: a run ends in a packed file, and its report says so") {
  const TemporaryFolder folder;
  put_file(folder / "recipe.yaml", R"(
seed: 2
threads: 2
model: {name: vgg_bn_28}
data: {name: synthetic, batch_size: 16, limit: 128, workers: 0}
optim: {name: sgd, lr: 0.05, momentum: 0.9}
train: {epochs: 2}
log: {tensorboard: false}
phases:
  dense: {}
  powers: {from: dense, compress: {inq: {portions: [0.5, 1], epochs_per_stage: 1}, kd: {teacher: dense}}}
)");
  const ProcessResult run =
      run_vtrain({folder / "recipe.yaml", "--quiet", "out.dir=" + (folder / "out")});
  REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
  const auto file = [&](const std::string& name) {
    return file_content((only_run(folder / "out") / name).string());
  };
  const std::string json = file("result.json");
  CAPTURE(json);
  CHECK(json.find("\"executor\":\"plan f32\",\"kind\":\"packed\"") != std::string::npos);
  CHECK(json.find(str("\"bytes\":", file("powers.packed.safetensors").size(), ',')) !=
        std::string::npos);
  CHECK(file("powers.packed.safetensors").size() * 4 < file("dense.safetensors").size());
}

TEST_CASE("inq: a run that is killed ends in the same bytes") {
  check_killed_is_uninterrupted(
      "recipes/resnet8_28_inq.yaml",
      {"data.name=synthetic", "data.val=0.25", "phases.dense.train.epochs=1",
       "phases.powers.train.epochs=3", "+phases.powers.ema.decay=0.9",
       "+phases.powers.compress.inq.overrides={last: {bits: 3}}"},
      {14, 20, 40}, {"powers.safetensors", "powers.packed.safetensors", "powers.quant.csv"});
}

TEST_CASE("inq: another device gives the bits of the CPU") {
  check_same_on_fake_device("{inq: {portions: [0.5, 1], epochs_per_stage: 1}}");
}

TEST_CASE("inq: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(inq(knobs), doctest::Contains(message), RecipeError);
  };
  refused("bits: 6", "inq.bits: expected");
  refused("overrides: {last: {bits: 6}}", "inq.overrides.last.bits: expected 2 to 5, got 6");
  refused("overrides: {last: {weight_bits: 4}}", "weight_bits: unknown key");
  refused("portions: [0.5]", "inq.portions: expected the last one to be 1");
  refused("portions: [0.5, 0.5, 1]", "inq.portions: expected each one to be larger");
  refused("portions: [0, 1]", "expected a number in (0, 1], got 0");
  refused("portions: [0.5, 0.75, 1], epochs_per_stage: 2",
          "3 stages, 2 epochs apart, need at least 4 epochs, phase sparse has 2");
  refused("portions: [1], layers: [conv9]", "inq.layers: conv9 matches no layer");
  CHECK_THROWS_WITH_AS(pruning_phase("{inq: {portions: [1]}, ttq: {}}"),
                       doctest::Contains("inq and ttq both want the quantize slot"), RecipeError);
}

}  // namespace
}  // namespace vtrain
