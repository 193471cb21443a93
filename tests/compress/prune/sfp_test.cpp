// Soft filter pruning, arXiv:1808.06866: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/edit.h"
#include "nn/graph.h"
#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("sfp", "{rate: 0.3}", std::nullopt);

/// Zeroed at the start too, so that a test needs no whole epoch.
TestPhase sfp(const std::string& knobs, std::vector<std::string> overrides = {},
              const std::string& model = "vgg_bn_28") {
  return pruning_phase("{sfp: {at_start: true, " + knobs + "}}", std::move(overrides), model);
}

/// The rows of a weight that are 0.
std::vector<int64_t> zero_rows_of(TestPhase& phase, const std::string& weight) {
  const Tensor w = phase->network().parameter(weight).value();
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < w.dim(0); ++i) {
    const std::vector<double> row = w.slice(0, i, i + 1).to_vector();
    if (zeros_in(row) == static_cast<int64_t>(row.size())) rows.push_back(i);
  }
  return rows;
}

/// Shifts of all norms: above 0 a filter of zeros has a gradient, else the ReLU has none.
void shift_norms(TestPhase& phase, double shift) {
  for (const char* const norm : {"features.1", "features.5", "features.9", "features.12"}) {
    Tensor bias = phase->network().parameter(str(norm, ".bias")).value();
    bias.fill(shift);
  }
}

TEST_CASE("sfp: rate 0 is plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"), none = sfp("rate: 0");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    finish_epoch(*phase);
    phase->steps(1);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("sfp: the filters of least l2 norm are zero at the start and at the end of an epoch") {
  TestPhase phase = sfp("rate: 0.3", {"phases.sparse.optim.momentum=0.9"});
  shift_norms(phase, 0.1);
  const std::vector<double> w = values_of(phase, "features.0.weight");
  std::vector<std::pair<double, int64_t>> norms;
  for (size_t j = 0; j < 16; ++j) {
    double squares = 0;
    for (size_t k = 0; k < 9; ++k) squares += w[j * 9 + k] * w[j * 9 + k];
    norms.emplace_back(squares, static_cast<int64_t>(j));
  }
  std::sort(norms.begin(), norms.end());
  std::vector<int64_t> least;
  for (size_t i = 0; i < 4; ++i) least.push_back(norms[i].second);  // floor(0.3 16)
  std::sort(least.begin(), least.end());
  phase->start();
  CHECK(zero_rows_of(phase, "features.0.weight") == least);
  CHECK(zero_rows_of(phase, "features.4.weight").size() == 9);
  CHECK(zero_rows_of(phase, "features.11.weight").size() == 19);
  phase.steps(1);
  CHECK(zero_rows_of(phase, "features.11.weight").empty());  // soft: they come back
  finish_epoch(phase);
  CHECK(zero_rows_of(phase, "features.0.weight").size() == 4);
  CHECK(zero_rows_of(phase, "features.11.weight").size() == 19);
}

TEST_CASE("sfp: the end is a smaller network that computes what the masked one did") {
  TestPhase phase = sfp("rate: 0.5");
  phase->start();
  const int64_t macs = Graph(phase->network()).macs();
  finish_epoch(phase);
  const Tensor images = phase.images(4), before = phase->network().logits(images);
  phase->finish();
  CHECK(phase->network().parameter("features.0.weight").value().shape() == Shape{8, 1, 3, 3});
  CHECK(phase->network().parameter("features.4.weight").value().shape() == Shape{16, 8, 3, 3});
  CHECK(phase->network().parameter("classifier.weight").value().shape() == Shape{10, 32});
  CHECK(Graph(phase->network()).macs() < macs / 3);
  CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sfp: a last zeroing alone is plain training and one-shot pruning by l2 norm") {
  const std::vector<std::string> three = {"phases.sparse.train.epochs=3"};
  TestPhase phase = pruning_phase("{sfp: {rate: 0.5, prune_every: 7}}", three),
            plain = pruning_phase("{}", three);
  for (TestPhase* const p : {&phase, &plain}) {
    (*p)->start();
    finish_epoch(*p);
    finish_epoch(*p);
  }
  CHECK(values_of(phase) == values_of(plain));
  finish_epoch(phase);
  CHECK(zero_rows_of(phase, "features.11.weight").size() == 32);
}

TEST_CASE("sfp: at_start zeroes filters before they learn; without a shift they never do") {
  const std::string layer = "features.11.weight", knobs = "rate: 0.3, zero_momentum: true";
  for (const bool is_at_start : {false, true}) {
    CAPTURE(is_at_start);
    TestPhase phase =
        pruning_phase(str("{sfp: {", knobs, ", at_start: ", is_at_start ? "true" : "false", "}}"));
    shift_norms(phase, 0);
    phase->start();
    const std::vector<int64_t> first = zero_rows_of(phase, layer);
    CHECK(first.size() == (is_at_start ? 19 : 0));
    phase.steps(3);
    CHECK(zero_rows_of(phase, layer) == first);
    finish_epoch(phase);
    CHECK(zero_rows_of(phase, layer).size() == 19);
    if (is_at_start) CHECK(zero_rows_of(phase, layer) == first);
  }
  TestPhase no_epochs = pruning_phase("{sfp: {rate: 0.3}}", {"phases.sparse.train.epochs=0"});
  no_epochs->start();
  CHECK(zero_rows_of(no_epochs, layer).size() == 19);
}

TEST_CASE("sfp: without learning the next list is the last one") {
  TestPhase phase = sfp("rate: 0.3", {"phases.sparse.optim.lr=1e-30"});
  phase->start();
  const std::vector<int64_t> first = zero_rows_of(phase, "features.8.weight");
  finish_epoch(phase);
  CHECK(zero_rows_of(phase, "features.8.weight") == first);
  CHECK(phase.mean("sfp.overlap") == 1);
}

TEST_CASE("sfp: a zeroed filter comes back if its shift is above 0, and stays dead below") {
  for (const double shift : {0.1, -0.1}) {
    TestPhase phase = sfp("rate: 0.3, zero_momentum: true, layers: [features.11]");
    shift_norms(phase, shift);
    phase->start();
    phase.steps(1);
    CHECK(zero_rows_of(phase, "features.11.weight").size() == (shift > 0 ? 0 : 19));
  }
}

TEST_CASE("sfp: prune_every counts epochs, and the last epoch always ends in a zeroing") {
  TestPhase phase = sfp("rate: 0.3, prune_every: 2", {"phases.sparse.train.epochs=3"});
  shift_norms(phase, 0.1);
  phase->start();
  finish_epoch(phase);
  CHECK(zero_rows_of(phase, "features.11.weight").empty());
  finish_epoch(phase);
  CHECK(!zero_rows_of(phase, "features.11.weight").empty());
  finish_epoch(phase);
  CHECK(!zero_rows_of(phase, "features.11.weight").empty());
}

TEST_CASE("sfp: zero_momentum makes zeroed filters start from fresh gradients") {
  const auto moments_after_zeroing = [](const std::string& knobs) {
    TestPhase phase = sfp("rate: 0.5" + knobs, {"phases.sparse.optim.momentum=0.9"});
    shift_norms(phase, 0.1);
    phase->start();
    finish_epoch(phase);
    NamedTensors file;
    phase->save(file);
    const Tensor moments = file.tensors.at("optimizer.momentum_buffer.features.11.weight");
    double largest = 0;
    for (const int64_t row : zero_rows_of(phase, "features.11.weight")) {
      for (const double m : moments.slice(0, row, row + 1).to_vector())
        largest = std::max(largest, std::abs(m));
    }
    return largest;
  };
  CHECK(moments_after_zeroing("") > 0);
  CHECK(moments_after_zeroing(", zero_momentum: true") == 0);
}

TEST_CASE("sfp: norms rank filters as they say") {
  // Filter 3 has the least l2 norm, filter 5 the least l1 norm.
  const auto planted = [](const std::string& knobs) {
    TestPhase phase = sfp("rate: 0.07, layers: [features.0], " + knobs);
    Tensor w = phase->network().parameter("features.0.weight").value();
    w.fill(1);
    w.slice(0, 3, 4).fill(0.1);  // l1 0.9, l2 0.3
    w.slice(0, 5, 6).fill(0);
    w.slice(0, 5, 6).slice(2, 0, 1).slice(3, 0, 1).fill(0.5);  // l1 0.5, l2 0.5
    Tensor gamma = phase->network().parameter("features.1.weight").value(),
           variance = phase->network().parameter("features.1.running_var").value();
    gamma.slice(0, 7, 8).fill(0.01);
    variance.slice(0, 3, 4).fill(0.0001);  // 0.3 / sqrt(0.00011) = 28.6
    phase->start();
    return zero_rows_of(phase, "features.0.weight");
  };
  CHECK(planted("norm: l2") == std::vector<int64_t>{3});
  CHECK(planted("norm: l1") == std::vector<int64_t>{5});
  CHECK(planted("norm: bn_folded") == std::vector<int64_t>{7});
}

TEST_CASE("sfp: norm bn_folded ranks alike when filter and deviation grow together") {
  const auto rows = [](double factor) {
    TestPhase phase = sfp("rate: 0.3, norm: bn_folded");
    Network& net = phase->network();
    for (int64_t j = 0; j < 16; ++j) {
      const double own = j % 2 == 0 ? factor : 1;
      Tensor w = net.parameter("features.0.weight").value(),
             v = net.parameter("features.1.running_var").value();
      Tensor row = w.slice(0, j, j + 1);
      std::vector<double> values = row.to_vector();
      for (double& x : values) x *= own;
      row.copy_from(from_values(row.shape(), values));
      v.slice(0, j, j + 1).fill(own * own);
    }
    phase->start();
    return zero_rows_of(phase, "features.0.weight");
  };
  CHECK(rows(1) == rows(8));
}

TEST_CASE("sfp: without mask_bn constants move into the next layers, and the report says how far") {
  TestPhase phase = sfp("rate: 0.3, mask_bn: false");
  shift_norms(phase, 0.2);  // what zeroed filters leave
  phase->start();
  finish_epoch(phase);
  phase->finish();
  CHECK(phase->network().parameter("features.0.weight").value().dim(0) == 12);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
  bool has_row = false;
  for (const auto& [row, text] : phase->state().report)
    has_row |= row == "constants" && text.find("not exactly: padding") != std::string::npos;
  CHECK(has_row);

  // The last convolution feeds a linear layer alone: there it is exact.
  TestPhase last = sfp("rate: 0.3, mask_bn: false, layers: [features.11]");
  Tensor shift = last->network().parameter("features.12.bias").value();
  shift.fill(0.2);
  last->start();
  finish_epoch(last);
  const Tensor images = last.images(4), before = last->network().logits(images);
  last->finish();
  CHECK(relative_difference(before, last->network().logits(images)) < 1e-5);
}

TEST_CASE("sfp: layers, skip, streams and min_keep bound what goes") {
  const auto rows = [](TestPhase phase, const std::string& weight) {
    phase->start();
    phase.steps(1);
    phase->finish();
    return phase->network().parameter(weight).value().dim(0);
  };
  CHECK(rows(sfp("rate: 0.5, skip: [features.4]"), "features.4.weight") == 32);
  CHECK(rows(sfp("rate: 0.5, layers: [features.4]"), "features.4.weight") == 16);
  CHECK(rows(sfp("rate: 0.5, layers: [features.4]"), "features.0.weight") == 16);
  CHECK(rows(sfp("rate: 0.97, min_keep: 5"), "features.4.weight") == 5);
  CHECK(rows(sfp("rate: 0.9375"), "features.0.weight") == 1);  // 1 - 1 / 16
  CHECK(rows(sfp("rate: 0.5", {}, "resnet8_28"), "conv1.weight") == 8);
  CHECK(rows(sfp("rate: 0.5, streams: coupled", {}, "resnet8_28"), "conv1.weight") == 4);
}

TEST_CASE("sfp: a moving average is cut by the list, not by its zeros") {
  TestPhase phase = sfp("rate: 0.5", {"phases.sparse.ema.decay=0.9"});
  phase->start();
  finish_epoch(phase);
  phase->finish();
  CHECK(phase->network().parameter("features.4.weight").value().shape() == Shape{16, 8, 3, 3});
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sfp: the loss falls while filters come and go") {
  TestPhase phase = sfp("rate: 0.3, zero_momentum: true",
                        {"phases.sparse.optim.lr=0.05", "phases.sparse.train.epochs=3"});
  phase->start();
  phase.steps(1);
  const double first = phase.mean("loss");
  for (int epoch = 0; epoch < 3; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("loss") < first);
}

TEST_CASE("sfp: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/vgg28_sfp.yaml", {}, {6, 12});
}

TEST_CASE("sfp: another device gives the bits of the CPU") {
  check_same_on_fake_device("{sfp: {rate: 0.3, zero_momentum: true}}",
                            {"phases.sparse.optim.momentum=0.9"});
}

TEST_CASE("sfp: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(TestPhase("{sfp: {}}"),
                       doctest::Contains("sfp: expected a convolutional network"), RecipeError);
  CHECK_THROWS_WITH_AS(sfp("layers: [x]"), doctest::Contains("x matches no layer"), RecipeError);
  CHECK_THROWS_WITH_AS(sfp("rate: 1.5"), doctest::Contains("in [0, 1]"), RecipeError);
  CHECK_THROWS_WITH_AS(sfp("norm: l3"), doctest::Contains("expected one of l1, l2, bn_folded"),
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
