// Pruning by magnitude in its simplest form, arXiv:1506.02626: an identity, a test per knob,
// misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

// For tests/compress/composition_test.cpp, which tries every method with every other: knobs for a
// network of three convolutions and for one of two transformer blocks. std::nullopt: not for such.
const TinyKnobs tiny_knobs("example", "{rate: 0.6}", "{rate: 0.6}");

const std::vector<std::string> kLayers = {"features.4", "features.8", "features.11", "classifier"};

TestPhase example(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return pruning_phase("{example: {" + knobs + "}}", std::move(overrides));
}

// An identity: a limit in which the method becomes something simpler.
TEST_CASE("example: rate 0 is plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"), none = example("rate: 0");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    phase->steps(3);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("example: the asked share of every layer goes, the smallest weights first") {
  TestPhase phase = example("rate: 0.5");
  const auto before = values_of(phase);
  phase->start();
  for (const std::string& layer : kLayers) {
    CAPTURE(layer);
    const std::vector<double> now = values_of(phase, layer + ".weight"),
                              was = before.at(layer + ".weight");
    CHECK(zeros_in(now) == static_cast<int64_t>(now.size()) / 2);
    double least_kept = 1e9, most_gone = 0;
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i] == 0) most_gone = std::max(most_gone, std::abs(was[i]));
      if (now[i] != 0) least_kept = std::min(least_kept, std::abs(was[i]));
    }
    CHECK(most_gone <= least_kept);
  }
}

TEST_CASE("example: zeros stay zero under momentum, decay and a moving average") {
  TestPhase phase = example(
      "rate: 0.5", {"phases.sparse.optim.momentum=0.9", "phases.sparse.optim.weight_decay=0.01",
                    "phases.sparse.ema.decay=0.9"});
  phase->start();
  const std::vector<double> first = values_of(phase, "features.8.weight");
  phase.steps(3);
  phase->finish();
  const std::vector<double> last = values_of(phase, "features.8.weight");
  int64_t moved = 0;
  for (size_t i = 0; i < last.size(); ++i) {
    CHECK((last[i] == 0) == (first[i] == 0));
    moved += last[i] != first[i] ? 1 : 0;
  }
  CHECK(moved > 0);
}

TEST_CASE("example: layers and skip choose what is pruned") {
  TestPhase phase = example("rate: 0.5, layers: [\"features.*\"], skip: [features.8]");
  phase->start();
  CHECK(zeros_in(values_of(phase, "features.4.weight")) > 0);
  CHECK(zeros_in(values_of(phase, "features.8.weight")) == 0);
  CHECK(zeros_in(values_of(phase, "classifier.weight")) == 0);
}

TEST_CASE("example: the report and the metrics say how much is 0") {
  TestPhase phase = example("rate: 0.25, layers: [features.8]");
  phase->start();
  finish_epoch(phase);
  CHECK(phase.mean("example.zeros_percent") == doctest::Approx(25));
  phase->finish();
  const std::pair<std::string, std::string> row("weights", "4608 of 18432 are 0");  // 64 32 3 3
  CHECK(std::ranges::count(phase->state().report, row) == 1);
}

TEST_CASE("example: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(example("rate: 1.5"),
                       doctest::Contains("expected a number in [0, 1], got 1.5"), RecipeError);
  CHECK_THROWS_WITH_AS(example("layers: [features.99]"),
                       doctest::Contains("features.99 matches no layer"), RecipeError);
}

}  // namespace
}  // namespace vtrain
