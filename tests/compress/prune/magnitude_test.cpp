// Magnitude pruning, arXiv:1506.02626: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/edit.h"
#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("magnitude", "{rate: 0.8, rounds: 2, retrain_epochs: 1}",
                           "{rate: 0.8, rounds: 2, retrain_epochs: 1}");

const std::vector<std::string> kPrunable = {"features.4", "features.8", "features.11",
                                            "classifier"};

TestPhase magnitude(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return pruning_phase("{magnitude: {" + knobs + "}}", std::move(overrides));
}

int64_t zeros_of(TestPhase& phase, const std::string& layer) {
  return zeros_in(values_of(phase, layer + ".weight"));
}

int64_t all_zeros(TestPhase& phase) {
  int64_t zeros = 0;
  for (const std::string& layer : kPrunable) zeros += zeros_of(phase, layer);
  return zeros;
}

int64_t all_weights(TestPhase& phase) {
  int64_t count = 0;
  for (const std::string& layer : kPrunable)
    count += static_cast<int64_t>(values_of(phase, layer + ".weight").size());
  return count;
}

std::string row(TestPhase& phase, const std::string& name) {
  for (const auto& [row, text] : phase->state().report) {
    if (row == name) return text;
  }
  return "";
}

TEST_CASE("magnitude: rate 0 is plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"), none = magnitude("rate: 0, rounds: 1");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    phase->steps(3);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("magnitude: exactly the asked share goes, the smallest of all layers together") {
  // Without the classifier, whose first weights are so small that min_keep would hold some.
  TestPhase phase = magnitude("rate: 0.9, rounds: 1, skip: [classifier]");
  const auto before = values_of(phase);
  phase->start();
  const int64_t n = all_weights(phase) - 640;
  CHECK(all_zeros(phase) == n * 9 / 10);
  double least_kept = 1e9, most_gone = 0;
  for (const char* const layer : {"features.4", "features.8", "features.11"}) {
    const std::string weight = str(layer, ".weight");
    const std::vector<double> now = values_of(phase, weight), was = before.at(weight);
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] != 0) CHECK(now[i] == was[i]);
      (now[i] != 0 ? least_kept : most_gone) = now[i] != 0 ? std::min(least_kept, std::abs(was[i]))
                                                           : std::max(most_gone, std::abs(was[i]));
    }
  }
  CHECK(least_kept >= most_gone);
  CHECK(zeros_of(phase, "features.0") == 0);  // sees the images
}

TEST_CASE("magnitude: zeros stay zero under momentum and decay, in moments and average too") {
  TestPhase phase =
      magnitude("rate: 0.5, rounds: 2, retrain_epochs: 1, schedule: linear",
                {"phases.sparse.optim.momentum=0.9", "phases.sparse.optim.weight_decay=0.01",
                 "phases.sparse.ema.decay=0.9"});
  phase->start();
  const std::vector<double> first = values_of(phase, "features.8.weight");
  finish_epoch(phase);  // the second round: weights with momentum go
  const std::vector<double> second = values_of(phase, "features.8.weight");
  phase.steps(3);
  const std::vector<double> now = values_of(phase, "features.8.weight");
  NamedTensors file;
  phase->save(file);
  const std::vector<double> moments =
      file.tensors.at("optimizer.momentum_buffer.features.8.weight").to_vector();
  int64_t moved = 0;
  for (size_t i = 0; i < now.size(); ++i) {
    if (first[i] == 0) CHECK(second[i] == 0);
    if (second[i] == 0) {
      CHECK(now[i] == 0);
      CHECK(moments[i] == 0);
    } else {
      moved += now[i] != second[i] ? 1 : 0;
    }
  }
  CHECK(zeros_in(second) > zeros_in(first));
  CHECK(moved > 0);
  CHECK(file.tensors.at("helper.compress.magnitude.masks.features.8.weight").to_vector().size() ==
        now.size());
  CHECK(!file.tensors.contains("ema.compress.magnitude.masks.features.8.weight"));
  // The average of weights that went late is not 0; what is kept is.
  phase->finish();
  CHECK(zeros_in(values_of(phase, "features.8.weight")) >= zeros_in(second));
}

TEST_CASE("magnitude: rounds without retraining are one shot, in any schedule") {
  TestPhase once = magnitude("rate: 0.8, rounds: 1");
  once->start();
  for (const char* const schedule : {"geometric", "linear", "cubic"}) {
    TestPhase rounds =
        magnitude(str("rate: 0.8, rounds: 3, retrain_epochs: 0, schedule: ", schedule));
    rounds->start();
    CHECK(values_of(rounds) == values_of(once));
  }
}

TEST_CASE("magnitude: rounds follow their schedule, epochs apart") {
  TestPhase phase =
      magnitude("rate: 0.75, rounds: 2, retrain_epochs: 2", {"phases.sparse.train.epochs=4"});
  phase->start();
  const int64_t n = all_weights(phase);
  CHECK(all_zeros(phase) == n / 2);  // geometric: half, then half of the half
  finish_epoch(phase);
  CHECK(all_zeros(phase) == n / 2);
  finish_epoch(phase);
  CHECK(all_zeros(phase) == n * 3 / 4);
  finish_epoch(phase);
  CHECK(all_zeros(phase) == n * 3 / 4);
  CHECK(phase.mean("magnitude.zeros_percent") > 50);
}

TEST_CASE("magnitude: scope layer takes the rate of every layer, rates one for each") {
  TestPhase layer = magnitude("rate: 0.5, rounds: 1, scope: layer");
  layer->start();
  for (const std::string& name : kPrunable)
    CHECK(zeros_of(layer, name) ==
          static_cast<int64_t>(values_of(layer, name + ".weight").size()) / 2);
  TestPhase global = magnitude("rate: 0.5, rounds: 1");
  global->start();
  CHECK(zeros_of(global, "classifier") != zeros_of(layer, "classifier"));

  TestPhase listed =
      magnitude("layers: [features.4, \"features.1*\"], rates: [0.25, 0.75], rounds: 1");
  listed->start();
  CHECK(zeros_of(listed, "features.4") == 32 * 16 * 9 / 4);
  CHECK(zeros_of(listed, "features.11") == 64 * 64 * 9 * 3 / 4);
  CHECK(zeros_of(listed, "features.8") == 0);
}

TEST_CASE("magnitude: mode std takes what is within quality deviations of its layer") {
  TestPhase phase = magnitude("mode: std, quality: 0.5");
  const std::vector<double> w = values_of(phase, "features.8.weight");
  double mean = 0, squares = 0;
  for (const double x : w) mean += x / static_cast<double>(w.size());
  for (const double x : w) squares += (x - mean) * (x - mean);
  const double bound = 0.5 * std::sqrt(squares / static_cast<double>(w.size()));
  const auto expected =
      std::count_if(w.begin(), w.end(), [bound](double x) { return std::abs(x) <= bound; });
  phase->start();
  CHECK(zeros_of(phase, "features.8") == expected);
  CHECK(expected > 0);
  TestPhase more = magnitude("mode: std, quality: 1");
  more->start();
  CHECK(zeros_of(more, "features.8") > expected);
}

TEST_CASE("magnitude: pick random takes as many of each layer, but others") {
  TestPhase smallest = magnitude("rate: 0.5, rounds: 1"),
            random = magnitude("rate: 0.5, rounds: 1, pick: random");
  smallest->start();
  random->start();
  for (const std::string& layer : kPrunable)
    CHECK(zeros_of(random, layer) == zeros_of(smallest, layer));
  CHECK(values_of(random) != values_of(smallest));
}

TEST_CASE("magnitude: layers, skip, first_layer and min_keep bound what goes") {
  TestPhase phase = magnitude("rate: 1, rounds: 1, skip: [features.8], min_keep: 3");
  phase->start();
  CHECK(zeros_of(phase, "features.8") == 0);
  CHECK(zeros_of(phase, "features.4") == 32 * 16 * 9 - 3);
  CHECK(zeros_of(phase, "classifier") == 640 - 3);
  phase.steps(1);
  phase->finish();
  CHECK(row(phase, "at min_keep") == "features.4, features.11, classifier");

  TestPhase first = magnitude("rate: 0.5, rounds: 1, scope: layer, first_layer: prune");
  first->start();
  CHECK(zeros_of(first, "features.0") == 16 * 9 / 2);
}

TEST_CASE("magnitude: freeze_other leaves all other layers byte for byte") {
  TestPhase phase = magnitude("layers: [features.8], rate: 0.5, rounds: 1, freeze_other: true"),
            free = magnitude("layers: [features.8], rate: 0.5, rounds: 1");
  const auto before = values_of(phase);
  for (TestPhase* const p : {&phase, &free}) {
    (*p)->start();
    p->steps(2);
  }
  for (const auto& [name, value] : values_of(phase)) {
    CAPTURE(name);
    if (name.starts_with("features.8.")) continue;
    CHECK(value == before.at(name));
  }
  CHECK(values_of(phase, "features.8.weight") != before.at("features.8.weight"));
  CHECK(values_of(free, "features.4.weight") != before.at("features.4.weight"));
}

TEST_CASE("magnitude: the end has exact zeros, no dead unit, and the logits it had") {
  TestPhase phase = magnitude("rate: 0.995, rounds: 1, scope: layer");
  phase->start();
  phase.steps(4);
  const Tensor images = phase.images(4), before = phase->network().logits(images);
  const int64_t zeros = all_zeros(phase), n = all_weights(phase);
  CHECK(zeros >= n * 99 / 100);
  phase->finish();
  CHECK(phase->network().hooks().empty());
  CHECK(row(phase, "zeros").find("prunable weights (compression") != std::string::npos);
  CHECK(row(phase, "dead units").find("cut") != std::string::npos);
  // 0.5 % of a filter's 144 to 576 weights: many filters have lost them all.
  CHECK(phase->network().architecture().is_changed());
  CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("magnitude: retraining recovers what pruning cost") {
  TestPhase phase = magnitude("rate: 0.7, rounds: 1", {"phases.sparse.optim.lr=0.05"});
  phase->start();
  phase.steps(1);
  const double pruned = phase.mean("loss");
  finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < pruned);
  CHECK(all_zeros(phase) == all_weights(phase) * 7 / 10);
}

TEST_CASE("magnitude: a transformer's linear layers are pruned too") {
  TestPhase phase("{magnitude: {rate: 0.5, rounds: 1, layers: [\"blocks.*\"], scope: layer}}");
  phase->start();
  phase.steps(1);
  const std::vector<double> w = values_of(phase, "blocks.0.mlp.fc1.weight");
  CHECK(zeros_in(w) == static_cast<int64_t>(w.size()) / 2);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("magnitude: a cut by another method takes masks along") {
  TestPhase phase = pruning_phase(
      "{magnitude: {rate: 0.5, rounds: 1, scope: layer}, l1_filters: {rate: 0.5, order: "
      "iterative}}");
  phase->start();
  finish_epoch(phase);  // the first layer's filters go, and the second's kernels for them
  CHECK(values_of(phase, "features.4.weight").size() == 32 * 8 * 9);
  phase.steps(2);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("magnitude: a run that is killed between its rounds ends in the same bytes") {
  check_killed_is_whole("recipes/lenet300_magnitude.yaml",
                        {"phases.pruned.compress={magnitude: {rate: 0.9, rounds: 3, "
                         "retrain_epochs: 1, first_layer: prune}}"},
                        {6, 11});
}

TEST_CASE("magnitude: another device gives the bits of the CPU") {
  check_same_on_fake_device("{magnitude: {rate: 0.9, rounds: 2, retrain_epochs: 1}}");
}

TEST_CASE("magnitude: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(magnitude(knobs), doctest::Contains(message), RecipeError);
  };
  refused("rate: 1.5", "in [0, 1]");
  refused("rounds: 1, layers: [features.99]", "features.99 matches no layer");
  refused("rounds: 1, skip: [conv]", "conv matches no layer");
  refused("rounds: 1, layers: [features.0]", "leave no weights of vgg_bn_28 to prune");
  refused("rates: [0.5, 0.5]", "expected one rate per entry of layers (1), got 2");
  refused("rate: 0.5, rates: [0.5]", "got both");
  refused("mode: std, rate: 0.5", "has no effect in mode std");
  refused("mode: std, rounds: 3", "one threshold");
  refused("quality: 1", "has no effect in mode count");
  refused("rounds: 5, retrain_epochs: 2", "need at least 8 epochs, phase sparse has 2");
  CHECK_THROWS_WITH_AS(pruning_phase("{magnitude: {rounds: 1}, dns: {}}"),
                       doctest::Contains("magnitude"), Error);
}

}  // namespace
}  // namespace vtrain
