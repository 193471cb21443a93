// Pruning filters by norm, arXiv:1608.08710: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/latency.h"
#include "compress/edit.h"
#include "compress/parts/importance.h"
#include "nn/graph.h"
#include "tests/composition.h"
#include "tests/pruning.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("l1_filters", "{rate: 0.4}", std::nullopt);

std::string compress(const std::string& knobs) { return "{l1_filters: {" + knobs + "}}"; }

std::vector<std::string> on_model(const std::string& model) {
  return {"phases.dense.model.name=" + model, "phases.sparse.model.name=" + model};
}

TestPhase phase_of(const std::string& knobs, const std::string& model = "vgg_bn_28") {
  return TestPhase(compress(knobs), on_model(model));
}

std::unique_ptr<Network> dense_of(const TestPhase& phase) {
  return Network::load(phase.folder() / "dense.safetensors");
}

Shape shape_of(TestPhase& phase, const std::string& parameter) {
  return phase->network().parameter(parameter).value().shape();
}

/// The dense network with one filter's weights, bias and norm set to 0.
void zero_filter(Network& network, const std::string& conv, const std::string& norm, int64_t j) {
  for (const std::string& path :
       {conv + ".weight", conv + ".bias", norm + ".weight", norm + ".bias"}) {
    Tensor value = network.parameter(path).value();
    value.slice(0, j, j + 1).fill(0);
  }
}

TEST_CASE("l1_filters: rate 0 leaves every byte of the network") {
  TestPhase phase = phase_of("rate: 0");
  phase->start();
  const auto before = dense_of(phase)->state(), after = phase->network().state();
  REQUIRE(before.size() == after.size());
  for (const auto& [name, value] : before) CHECK(after.at(name).to_vector() == value.to_vector());
  CHECK(!phase->network().architecture().is_changed());
}

TEST_CASE("l1_filters: half of every layer's filters go, with norm and next kernels, and at once") {
  TestPhase phase = phase_of("rate: 0.5");
  phase->start();
  CHECK(shape_of(phase, "features.0.weight") == Shape{8, 1, 3, 3});
  CHECK(shape_of(phase, "features.1.running_var") == Shape{8});
  CHECK(shape_of(phase, "features.4.weight") == Shape{16, 8, 3, 3});
  CHECK(shape_of(phase, "classifier.weight") == Shape{10, 32});
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
  phase.steps(2);
  phase->finish();
  CHECK(phase->network().logits(phase.images(4)).shape() == Shape{4, 10});
}

TEST_CASE("l1_filters: a filter of zeros goes first, and its removal changes no logit") {
  TestPhase phase = phase_of("rate: 0.07, layers: [features.0]");  // one of 16
  const std::unique_ptr<Network> dense = dense_of(phase);
  zero_filter(*dense, "features.0", "features.1", 5);
  phase->network().load_state(dense->state(), "test");
  const Tensor images = phase.images(4), before = phase->network().logits(images);
  phase->start();
  CHECK(shape_of(phase, "features.0.weight") == Shape{15, 1, 3, 3});
  CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
}

/// Which filters of the first layer stay, told by their values.
std::vector<int64_t> kept_of(TestPhase& phase, const std::string& parameter) {
  phase->start();
  const Tensor dense = dense_of(phase)->parameter(parameter).value(),
               now = phase->network().parameter(parameter).value();
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < now.dim(0); ++i) {
    for (int64_t j = 0; j < dense.dim(0); ++j) {
      if (now.slice(0, i, i + 1).to_vector() == dense.slice(0, j, j + 1).to_vector())
        kept.push_back(j);
    }
  }
  return kept;
}

TEST_CASE("l1_filters: norm and pick decide which filters stay") {
  const std::string layer = "layers: [features.0], rate: 0.5";
  TestPhase l1 = phase_of(layer), l2 = phase_of(layer + ", norm: l2"),
            most = phase_of(layer + ", norm: max"), largest = phase_of(layer + ", pick: largest"),
            random = phase_of(layer + ", pick: random");
  const auto kept = kept_of(l1, "features.0.weight");
  REQUIRE(kept.size() == 8);
  // By hand: the eight of largest sum of absolute weights.
  const std::vector<double> w = dense_of(l1)->parameter("features.0.weight").value().to_vector();
  const auto sum_of = [&w](int64_t j) {
    double sum = 0;
    for (int64_t k = 0; k < 9; ++k) sum += std::abs(w[static_cast<size_t>(j * 9 + k)]);
    return sum;
  };
  double least_kept = 1e9, most_gone = 0;
  for (int64_t j = 0; j < 16; ++j) {
    const bool is_kept = std::find(kept.begin(), kept.end(), j) != kept.end();
    (is_kept ? least_kept : most_gone) =
        is_kept ? std::min(least_kept, sum_of(j)) : std::max(most_gone, sum_of(j));
  }
  CHECK(least_kept > most_gone);
  for (const int64_t j : kept_of(largest, "features.0.weight"))
    CHECK(std::find(kept.begin(), kept.end(), j) == kept.end());
  CHECK(kept_of(random, "features.0.weight") != kept);
  CHECK(kept_of(l2, "features.0.weight").size() == 8);
  CHECK(kept_of(most, "features.0.weight") != kept);
}

TEST_CASE("l1_filters: rates are those of the layers' entries, of which the first counts") {
  TestPhase phase = phase_of("layers: [features.0, \"*\"], rates: [0.25, 0.5]"),
            skipped = phase_of("layers: [features.4], rates: [0.75], selection: greedy");
  phase->start();
  CHECK(shape_of(phase, "features.0.weight")[0] == 12);
  CHECK(shape_of(phase, "features.4.weight")[0] == 16);
  CHECK(shape_of(phase, "features.8.weight")[0] == 32);
  skipped->start();
  CHECK(shape_of(skipped, "features.0.weight")[0] == 16);
  CHECK(shape_of(skipped, "features.4.weight")[0] == 8);
  CHECK_THROWS_WITH_AS(phase_of("rates: [0.5, 0.5]"),
                       doctest::Contains("rates: expected one rate per entry of layers (1), got 2"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase_of("rates: [0.5], rate: 0.5"),
                       doctest::Contains("rate: expected one of rate, rates and budget"),
                       RecipeError);
}

TEST_CASE("l1_filters: row norms of a weight made by hand") {
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  const CutGroups groups(network);
  Tensor w = network.parameter("features.4.weight").value();  // (32, 16, 3, 3)
  w.fill(0);
  w.slice(0, 3, 4).slice(1, 2, 3).fill(-2);  // nine of -2
  for (const CutGroup& group : groups.groups()) {
    if (group.name != "features.4") continue;
    CHECK(row_norms(network, group, WeightNorm::kL1)[3] == 18);
    CHECK(row_norms(network, group, WeightNorm::kL2)[3] == 6);
    CHECK(row_norms(network, group, WeightNorm::kMax)[3] == 2);
    CHECK(row_norms(network, group, WeightNorm::kL1)[4] == 0);
    const std::vector<int64_t> gone{2};
    const auto columns = [&gone](const std::string&) { return &gone; };
    CHECK(row_norms(network, group, WeightNorm::kL1, columns)[3] == 0);
  }
}

TEST_CASE("l1_filters: greedy leaves out kernels of filters that are gone, and only then differs") {
  const auto kept = [](const std::string& knobs) {
    TestPhase phase = phase_of(knobs);
    const std::unique_ptr<Network> dense = dense_of(phase);
    // Filter 0 of the second convolution lives from input 0, whose filter goes first.
    Tensor first = dense->parameter("features.0.weight").value(),
           second = dense->parameter("features.4.weight").value();
    first.slice(0, 0, 1).fill(1e-6);
    second.slice(0, 0, 1).fill(1e-6);
    second.slice(0, 0, 1).slice(1, 0, 1).fill(9);
    dense->save(phase.folder() / "dense.safetensors");
    phase->network().load_state(dense->state(), "test");
    phase->start();
    const Tensor now = phase->network().parameter("features.4.weight").value();
    return now.to_vector();
  };
  CHECK(kept("rate: 0.5") != kept("rate: 0.5, selection: greedy"));
  CHECK(kept("rate: 0.5, layers: [features.4]") ==
        kept("rate: 0.5, layers: [features.4], selection: greedy"));
}

TEST_CASE("l1_filters: layers, skip, streams, min_keep and round_to bound what goes") {
  TestPhase skipped = phase_of("rate: 0.5, skip: [features.4]");
  skipped->start();
  CHECK(shape_of(skipped, "features.4.weight") == Shape{32, 8, 3, 3});
  CHECK(shape_of(skipped, "features.0.weight")[0] == 8);

  TestPhase inner = phase_of("rate: 0.5", "resnet8_28"),
            coupled = phase_of("rate: 0.5, streams: coupled", "resnet8_28");
  inner->start();
  coupled->start();
  CHECK(shape_of(inner, "conv1.weight")[0] == 8);
  CHECK(shape_of(coupled, "conv1.weight")[0] == 4);
  CHECK(shape_of(coupled, "layer2.0.conv2.weight") == Shape{8, 8, 3, 3});
  CHECK(coupled->state().masked_compact_max_rel < 1e-5);

  TestPhase kept = phase_of("rate: 1, min_keep: 3"), rounded = phase_of("rate: 0.3, round_to: 8");
  kept->start();
  rounded->start();
  CHECK(shape_of(kept, "features.4.weight") == Shape{3, 3, 3, 3});
  CHECK(shape_of(rounded, "features.0.weight")[0] == 16);  // 12 would stay
  CHECK(shape_of(rounded, "features.4.weight")[0] == 24);  // 23 would stay
}

TEST_CASE("l1_filters: round_to auto is a multiple that was measured, and is reported") {
  TestPhase phase = phase_of("rate: 0.3, round_to: auto");
  phase->start();
  const int64_t first = shape_of(phase, "features.0.weight")[0],
                second = shape_of(phase, "features.4.weight")[0];
  // 12 and 23 filters stay, rounded up to 1, 4, 8, 16 or 32, of 16 and 32.
  CAPTURE(first);
  CAPTURE(second);
  CHECK(((first == 12 && (second == 23 || second == 24)) ||
         (first == 16 && (second == 24 || second == 32))));
  CHECK_THROWS_WITH_AS(
      phase_of("round_to: some"),
      doctest::Contains("round_to: expected a whole number of at least 1, or auto, got some"),
      RecipeError);
  CHECK_THROWS_AS(phase_of("round_to: 0"), RecipeError);
}

TEST_CASE("l1_filters: a budget of multiply-adds is met within 1 % by the network that trains") {
  TestPhase phase = phase_of("budget: {macs: 0.5}");
  const auto dense = static_cast<double>(Graph(phase->network()).macs());
  phase->start();
  const double share = static_cast<double>(Graph(phase->network()).macs()) / dense;
  CHECK(share <= 0.5);
  CHECK(share > 0.49);
  phase.steps(1);
}

TEST_CASE(
    "l1_filters: iterative cuts one layer behind every retraining, optimizer state included") {
  TestPhase phase(compress("rate: 0.5, order: iterative"),
                  {"phases.dense.model.name=vgg_bn_28", "phases.sparse.model.name=vgg_bn_28",
                   "phases.sparse.train.epochs=3", "phases.sparse.optim.momentum=0.9",
                   "phases.sparse.ema.decay=0.9"});
  phase->start();
  CHECK(!phase->network().architecture().is_changed());
  const auto epoch = [&] {
    phase.steps(static_cast<int>(phase->steps_per_epoch()));
    ++phase->epoch;
    phase->step_in_epoch = 0;
  };
  epoch();
  CHECK(shape_of(phase, "features.0.weight")[0] == 8);
  CHECK(shape_of(phase, "features.4.weight") == Shape{32, 8, 3, 3});
  epoch();
  CHECK(shape_of(phase, "features.4.weight") == Shape{16, 8, 3, 3});
  NamedTensors file;
  phase->save(file);
  CHECK(file.tensors.at("ema.features.4.weight").shape() == Shape{16, 8, 3, 3});
  bool has_momentum = false;
  for (const auto& [name, tensor] : file.tensors) {
    if (!name.starts_with("optimizer.") || !name.ends_with(".features.4.weight")) continue;
    if (name.starts_with("optimizer.steps")) continue;
    has_momentum = true;
    CHECK(tensor.shape() == Shape{16, 8, 3, 3});
  }
  CHECK(has_momentum);
}

TEST_CASE("l1_filters: a run that is killed between its cuts ends in the same bytes") {
  check_killed_is_whole("recipes/vgg28_l1_filters.yaml",
                        {"phases.pruned.compress.l1_filters={order: iterative}"}, {6, 10});
}

TEST_CASE("l1_filters: on the second device it cuts and ends in the same bits") {
  check_same_on_fake_device(compress("rate: 0.5"));
}

TEST_CASE("l1_filters: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(TestPhase(compress("")),
                       doctest::Contains("expected a convolutional network"), RecipeError);
  CHECK_THROWS_WITH_AS(phase_of("layers: [features.99]"),
                       doctest::Contains("features.99 matches no layer"), RecipeError);
  CHECK_THROWS_WITH_AS(phase_of("skip: [conv*]"), doctest::Contains("conv* matches no layer"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(phase_of("rate: 1.5"), doctest::Contains("in [0, 1]"), RecipeError);
  CHECK_THROWS_WITH_AS(phase_of("budget: {}"), doctest::Contains("at least one of"), RecipeError);
  TestPhase impossible = phase_of("budget: {macs: 0.0001}");
  try {
    impossible->start();
    FAIL("expected an error");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kBudget);
  }
}

}  // namespace
}  // namespace vtrain
