// Dynamic network surgery, arXiv:1608.04493: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/edit.h"
#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("dns", "{c_rate: 0.5, gamma: 0.01}", "{c_rate: 0.5, gamma: 0.01}");

TestPhase dns(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return pruning_phase("{dns: {" + knobs + "}}", std::move(overrides));
}

std::vector<double> mask_of(TestPhase& phase, const std::string& weight) {
  for (const Parameter& p : phase->state().helpers.at("compress.dns.masks")->parameters()) {
    if (p.path() == "compress.dns.masks." + weight) return p.value().to_vector();
  }
  return {};
}

/// max(mu + c_rate sd, 0) of |w|, by hand.
double threshold_of(const std::vector<double>& w, double c_rate) {
  double mu = 0, squares = 0;
  for (const double x : w) mu += std::abs(x) / static_cast<double>(w.size());
  for (const double x : w) squares += (std::abs(x) - mu) * (std::abs(x) - mu);
  return std::max(0.0, mu + c_rate * std::sqrt(squares / static_cast<double>(w.size())));
}

const std::string kWeight = "features.8.weight";
/// Weights stand still, so that masks can be followed by hand.
const std::vector<std::string> kStill = {"phases.sparse.optim.lr=1e-30"};

TEST_CASE("dns: thresholds of 0 are plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"), none = dns("c_rate: -1000");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    phase->steps(3);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("dns: the first masks prune what is below 0.9 c, and c_rate says how much that is") {
  int64_t last = -1;
  for (const double c_rate : {-0.5, 0.0, 0.5}) {
    TestPhase phase = dns(str("c_rate: ", c_rate), kStill);
    const std::vector<double> w = values_of(phase, kWeight);
    const double a = 0.9 * threshold_of(w, c_rate);
    phase->start();
    phase.steps(1);
    const auto expected =
        std::count_if(w.begin(), w.end(), [a](double x) { return std::abs(x) < a; });
    CHECK(zeros_in(mask_of(phase, kWeight)) == expected);
    CHECK(values_of(phase, kWeight) == w);  // W itself stays dense
    CHECK(expected > last);
    last = expected;
  }
}

TEST_CASE("dns: between low and high a mask stays as it was; with low = high it has no memory") {
  for (const double high : {1.5, 0.5}) {
    TestPhase phase = dns(str("c_rate: 0, low: 0.5, high: ", high), kStill);
    const std::vector<double> w = values_of(phase, kWeight);
    const double c = threshold_of(w, 0);
    phase->start();
    phase.steps(1);
    std::vector<double> moved = w;
    // Kept, pruned, then moved into the middle, and back above high.
    const auto kept = static_cast<size_t>(
        std::find_if(w.begin(), w.end(), [c](double x) { return std::abs(x) > 1.2 * c; }) -
        w.begin());
    const auto pruned = static_cast<size_t>(
        std::find_if(w.begin(), w.end(), [c](double x) { return std::abs(x) < 0.4 * c; }) -
        w.begin());
    const auto set = [&](double k, double p) {
      moved[kept] = k;
      moved[pruned] = p;
      Parameter weight = phase->network().parameter(kWeight);
      weight.set(from_values(weight.value().shape(), moved));
      phase.steps(1);
    };
    CHECK(mask_of(phase, kWeight)[kept] == 1);
    CHECK(mask_of(phase, kWeight)[pruned] == 0);
    set(c, -c);
    CHECK(mask_of(phase, kWeight)[kept] == 1);
    CHECK(mask_of(phase, kWeight)[pruned] == (high < 1 ? 1 : 0));
    set(0.4 * c, -1.6 * c);
    CHECK(mask_of(phase, kWeight)[kept] == 0);
    CHECK(mask_of(phase, kWeight)[pruned] == 1);  // spliced back
  }
}

TEST_CASE("dns: gradients reach pruned weights, and only their masks keep them from the logits") {
  TestPhase phase = dns("c_rate: 0.5, update_share: 0.03");  // of 16 steps: masks move in the first
  phase->start();
  phase.steps(1);
  const std::vector<double> mask = mask_of(phase, kWeight), before = values_of(phase, kWeight);
  phase.steps(2);
  const std::vector<double> after = values_of(phase, kWeight);
  CHECK(mask_of(phase, kWeight) == mask);
  int64_t moved = 0;
  std::vector<double> masked = after;
  for (size_t i = 0; i < mask.size(); ++i) {
    moved += mask[i] == 0 && after[i] != before[i] ? 1 : 0;
    masked[i] *= mask[i];
  }
  CHECK(moved > zeros_in(mask) / 2);
  const Tensor images = phase.images(4), logits = phase->network().logits(images);
  Parameter weight = phase->network().parameter(kWeight);
  weight.set(from_values(weight.value().shape(), masked));
  CHECK(phase->network().logits(images).to_vector() == logits.to_vector());
}

TEST_CASE("dns: masks move less often with gamma and power, and not after update_share") {
  // With thresholds that weights cross at every step, changes count the updates.
  const auto looks = [](const std::string& knobs) {
    TestPhase phase = dns("c_rate: 0, low: 1, high: 1, " + knobs, {"phases.sparse.optim.lr=0.1"});
    phase->start();
    int64_t changes = 0;
    for (int i = 0; i < 16; ++i) {
      const std::vector<double> before = mask_of(phase, "features.11.weight");
      phase.steps(1);
      changes += mask_of(phase, "features.11.weight") != before ? 1 : 0;
      if (phase->step_in_epoch == phase->steps_per_epoch()) {
        ++phase->epoch;
        phase->step_in_epoch = 0;
      }
    }
    return changes;
  };
  CHECK(looks("gamma: 0, update_share: 1") == 16);
  CHECK(looks("gamma: 1e9, power: 0, update_share: 1") == 16);
  CHECK(looks("gamma: 0, update_share: 0.5") == 8);
  CHECK(looks("gamma: 0, update_share: 0") == 0);
  CHECK(looks("gamma: 1e9, update_share: 1") == 1);  // only step 0 is certain
}

TEST_CASE("dns: layers of their own c_rate; others stay dense") {
  TestPhase phase = dns("layers: [features.8, features.11], c_rate: [-0.5, 0.5]", kStill);
  const std::vector<double> w = values_of(phase, kWeight);
  const double a = 0.9 * threshold_of(w, -0.5);
  phase->start();
  phase.steps(1);
  CHECK(zeros_in(mask_of(phase, kWeight)) ==
        std::count_if(w.begin(), w.end(), [a](double x) { return std::abs(x) < a; }));
  CHECK(mask_of(phase, "features.4.weight").empty());
  phase->finish();
  CHECK(zeros_in(values_of(phase, "features.4.weight")) == 0);
}

TEST_CASE("dns: weights are spliced back while training, and the end is exactly sparse") {
  TestPhase phase = dns("c_rate: 0.5, gamma: 0, update_share: 1", {"phases.sparse.optim.lr=0.1"});
  phase->start();
  finish_epoch(phase);
  CHECK(phase.mean("dns.pruned") > 0);
  CHECK(phase.mean("dns.spliced") > 0);
  const Tensor images = phase.images(4), before = phase->network().logits(images);
  const int64_t hidden = zeros_in(mask_of(phase, kWeight));
  CHECK(zeros_in(values_of(phase, kWeight)) < hidden);
  phase->finish();
  CHECK(zeros_in(values_of(phase, kWeight)) >= hidden);
  CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
  bool has_rows = false;
  for (const auto& [row, text] : phase->state().report)
    has_rows |= row == "surgery" && text.find("spliced back") != std::string::npos;
  CHECK(has_rows);
}

TEST_CASE("dns: the loss falls while weights go") {
  TestPhase phase = dns("c_rate: 0", {"phases.sparse.optim.lr=0.05"});
  phase->start();
  phase.steps(1);
  const double first = phase.mean("loss");
  finish_epoch(phase);
  phase->means.clear();
  finish_epoch(phase);
  CHECK(phase.mean("loss") < first);
  CHECK(phase.mean("dns.zeros_percent") > 30);
}

TEST_CASE("dns: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/lenet300_dns.yaml", {}, {6, 10});
}

TEST_CASE("dns: another device gives the bits of the CPU") {
  check_same_on_fake_device("{dns: {c_rate: 0.5}}");
}

TEST_CASE("dns: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(dns("c_rate: [1, 2]"),
                       doctest::Contains("c_rate: expected one number, or one per entry"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(dns("low: 2"), doctest::Contains("low: expected at most high (1.1), got 2"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(dns("layers: [x]"), doctest::Contains("x matches no layer"), RecipeError);
  CHECK_THROWS_WITH_AS(dns("update_share: 2"), doctest::Contains("in [0, 1]"), RecipeError);
  TestPhase all = dns("c_rate: 100");
  CHECK_THROWS_WITH_AS(all->start(),
                       doctest::Contains("c_rate: 100 would prune every weight of features.4"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
