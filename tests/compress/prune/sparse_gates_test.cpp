// Training sparse networks, arXiv:1611.06694: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/arithmetic.h"
#include "compress/edit.h"
#include "tests/composition.h"
#include "tests/quantizing.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("sparse_gates", "{gate_init: 0.5, gate_lr_mult: 10}",
                           "{gate_init: 0.5, gate_lr_mult: 10}");

using doctest::Approx;

const std::string kLayer = "features.8", kWeight = "features.8.weight";  // 64 x 32 x 3 x 3
const std::vector<std::string> kStill = {"phases.sparse.optim.lr=1e-30"};

TestPhase sparse_gates(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return pruning_phase("{sparse_gates: {" + knobs + "}}", std::move(overrides));
}

Parameter gates_of(TestPhase& phase, const std::string& weight) {
  for (const Parameter& p :
       phase->state().helpers.at("compress.sparse_gates.gates")->parameters()) {
    if (p.path() == "compress.sparse_gates.gates." + weight) return p;
  }
  FAIL("no gates of ", weight);
  return {};
}

/// The first gates of a layer become these, in turn to its end.
std::vector<double> set_gates(TestPhase& phase, const std::string& weight,
                              const std::vector<double>& pattern) {
  Parameter gates = gates_of(phase, weight);
  std::vector<double> values(static_cast<size_t>(gates.value().numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = pattern[i % pattern.size()];
  gates.set(from_values(gates.value().shape(), values));
  return values;
}

Pass training_pass(TestPhase& phase, int64_t step) {
  Pass pass;
  pass.is_training = pass.wants_grad = true;
  pass.step = step;
  pass.hooks = &phase->network().hooks();
  return pass;
}

/// The weight as training sees it in that step.
Variable drawn(TestPhase& phase, const std::string& weight, int64_t step) {
  return phase->network().parameter(weight).effective_full(training_pass(phase, step));
}

std::string row(TestPhase& phase, const std::string& name) {
  for (const auto& [row, text] : phase->state().report) {
    if (row == name) return text;
  }
  return "";
}

TEST_CASE("sparse_gates: open gates that stay so are plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"),
            open = sparse_gates("lambda1: 0, lambda2: 0, gate_lr_mult: 0, bn_images: 0");
  for (TestPhase* const phase : {&plain, &open}) {
    (*phase)->start();
    phase->steps(3);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(open));
}

TEST_CASE("sparse_gates: a weight is kept as often as its gate says, one draw for a step") {
  TestPhase phase = sparse_gates("");
  const std::string weight = "classifier.weight";  // 640
  const std::vector<double> g = set_gates(phase, weight, {0, 0.1, 0.5, 0.8, 1}),
                            w = values_of(phase, weight);
  constexpr int64_t kDraws = 10000;
  std::vector<double> kept(w.size());
  for (int64_t step = 0; step < kDraws; ++step) {
    const std::vector<double> seen = drawn(phase, weight, step).value().to_vector();
    for (size_t i = 0; i < seen.size(); ++i) {
      if (seen[i] != 0 && seen[i] != w[i]) FAIL("neither the weight nor 0");
      kept[i] += seen[i] != 0 ? 1 : 0;
    }
  }
  // 384 gates that draw: the largest of them is within 4.5 standard errors.
  for (size_t i = 0; i < kept.size(); ++i)
    CHECK(std::abs(kept[i] / kDraws - g[i]) <= 4.5 * std::sqrt(g[i] * (1 - g[i]) / kDraws));

  Pass other = training_pass(phase, 5);
  other.first_sample = 32;  // a second micro-batch
  CHECK(phase->network().parameter(weight).effective_full(other).value().to_vector() ==
        drawn(phase, weight, 5).value().to_vector());
  CHECK(drawn(phase, weight, 5).value().to_vector() != drawn(phase, weight, 6).value().to_vector());
}

TEST_CASE("sparse_gates: gates of 0 and 1 draw what evaluation rounds to") {
  TestPhase phase = sparse_gates("");
  set_gates(phase, kWeight, {0, 1, 1});
  CHECK(drawn(phase, kWeight, 3).value().to_vector() == effective_weight(phase, kWeight));
  CHECK(zeros_in(effective_weight(phase, kWeight)) == 64 * 32 * 3);
}

// E[L] = sum c w g for a linear loss, and sum w^2 g for the sum of squares.
TEST_CASE("sparse_gates: straight through is exact for a linear loss, and biased for squares") {
  TestPhase phase = sparse_gates("");
  set_gates(phase, kWeight, {0.3, 0.6});
  const Parameter gates = gates_of(phase, kWeight), weight = phase->network().parameter(kWeight);
  const Tensor c = Random(2, "", "c").normal(weight.value().shape(), {});
  const std::vector<double> w = weight.value().to_vector(), factors = c.to_vector();
  const auto backward_of = [&](const auto& loss) {
    gates.clear_grad();
    weight.clear_grad();
    backward(loss(drawn(phase, kWeight, 1)));
    return gates.grad().to_vector();
  };
  const std::vector<double> seen = drawn(phase, kWeight, 1).value().to_vector();
  const std::vector<double> linear =
      backward_of([&](const Variable& seen_w) { return sum(seen_w * Variable(c)); });
  for (size_t i = 0; i < w.size(); ++i) CHECK(linear[i] == Approx(factors[i] * w[i]).epsilon(1e-6));
  const std::vector<double> dw = weight.grad().to_vector();
  for (size_t i = 0; i < w.size(); ++i) CHECK(dw[i] == (seen[i] == 0 ? 0 : factors[i]));

  const std::vector<double> squares =
      backward_of([](const Variable& seen_w) { return sum(square(seen_w)); });
  double exact = 0, through = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    exact += w[i] * w[i];
    through += squares[i];
  }
  // 2 w^2 z, of which 45 % are drawn: 0.9 of the exact one.
  CHECK(through / exact > 0.85);
  CHECK(through / exact < 0.95);
}

TEST_CASE("sparse_gates: without draws it is W G with ordinary gradients") {
  TestPhase phase = sparse_gates("draw: none");
  const std::vector<double> g = set_gates(phase, kWeight, {0.25, 0.5, 1}),
                            w = values_of(phase, kWeight);
  const Parameter gates = gates_of(phase, kWeight), weight = phase->network().parameter(kWeight);
  gates.clear_grad();
  weight.clear_grad();
  const Variable seen = drawn(phase, kWeight, 1);
  backward(sum(seen));
  const std::vector<double> values = seen.value().to_vector(), dg = gates.grad().to_vector(),
                            dw = weight.grad().to_vector();
  for (size_t i = 0; i < w.size(); ++i) {
    CHECK(values[i] == Approx(w[i] * g[i]).epsilon(1e-6));
    CHECK(dg[i] == w[i]);
    CHECK(dw[i] == g[i]);
  }
}

// Weights of the last layer are 0, so that no gradient of the task reaches the gates below it in
// the first step. With lambda1 = 2 lambda2 gates turn at (1 + 1/2) / 2.
TEST_CASE("sparse_gates: penalties move gates by lambda1 (1 - 2g) + lambda2, within [0, 1]") {
  TestPhase phase = sparse_gates("lambda1: 2.0e-3, lambda2: 1.0e-3, gate_lr_mult: 1000",
                                 {"phases.sparse.optim.lr=0.01"});
  phase->start();
  Parameter classifier = phase->network().parameter("classifier.weight");
  classifier.set(zeros(classifier.value().shape()));
  const std::vector<double> before =
      set_gates(phase, kWeight, {0, 0.01, 0.3, 0.5, 0.75, 0.8, 0.99, 1});
  phase.steps(1);
  const std::vector<double> after = gates_of(phase, kWeight).value().to_vector();
  for (size_t i = 0; i < 8; ++i) {
    const double g = before[i], moved = g - 10 * (2e-3 * (1 - 2 * g) + 1e-3);
    CAPTURE(g);
    CHECK(after[i] == Approx(std::clamp(moved, 0.0, 1.0)).epsilon(1e-5));
  }
  CHECK(after[0] == 0);
  CHECK(after[2] < before[2]);
  CHECK(after[4] == Approx(0.75));
  CHECK(after[5] > before[5]);
  CHECK(after[7] == 1);
}

TEST_CASE(
    "sparse_gates: the term is lambda1 sum g (1 - g) + lambda2 sum g; lambda1 half by default") {
  const auto term = [](const std::string& knobs) {
    TestPhase phase = sparse_gates("layers: [features.8], " + knobs, kStill);
    phase->start();
    set_gates(phase, kWeight, {0.25, 1});
    phase.steps(1);
    return phase.mean("sparse_gates.gates");
  };
  const double n = 64 * 32 * 9;
  CHECK(term("lambda1: 0, lambda2: 1.0e-3") == Approx(1e-3 * n * 0.625));
  CHECK(term("lambda1: 1.0e-3, lambda2: 0") == Approx(1e-3 * n * 0.1875 / 2));
  CHECK(term("lambda2: 1.0e-3") == Approx(1e-3 * n * (0.625 + 0.1875 / 4)));
}

TEST_CASE("sparse_gates: more weights go with a larger lambda2") {
  int64_t last = -1;
  for (const char* const lambda2 : {"0", "1.0e-4", "1.0e-3"}) {
    TestPhase phase =
        sparse_gates(str("gate_init: 0.505, gate_lr_mult: 1000, lambda1: 0, lambda2: ", lambda2));
    phase->start();
    phase.steps(8);
    const int64_t zeros = zeros_in(effective_weight(phase, kWeight));
    CHECK(zeros > last);
    last = zeros;
  }
}

TEST_CASE("sparse_gates: gates start at gate_init and learn at gate_lr_mult of the rate") {
  const auto moved = [](const std::string& mult) {
    TestPhase phase = sparse_gates("gate_init: 0.5, draw: none, gate_lr_mult: " + mult);
    phase->start();
    const std::vector<double> before = gates_of(phase, kWeight).value().to_vector();
    CHECK(std::ranges::count(before, 0.5) == static_cast<int64_t>(before.size()));
    phase.steps(1);
    double sum = 0;
    for (const double g : gates_of(phase, kWeight).value().to_vector()) sum += std::abs(g - 0.5);
    return sum;
  };
  CHECK(moved("0") == 0);
  CHECK(moved("20") > 0);
  CHECK(moved("40") == Approx(2 * moved("20")).epsilon(1e-3));
}

TEST_CASE("sparse_gates: gates are not decayed, and momentum does not push against a wall") {
  // Open gates with momentum upwards: the mean of gradients stays 0 at the wall.
  for (const char* const optim : {"optim={name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 0.5}",
                                  "optim={name: adamw, lr: 1.0e-4, weight_decay: 0.5}"}) {
    CAPTURE(optim);
    TestPhase phase = sparse_gates("lambda1: 0, lambda2: 0", {optim});
    phase->start();
    phase.steps(3);
    const Parameter gates = gates_of(phase, kWeight);
    NamedTensors file;
    phase->save(file);
    const std::string name =
        str(file.tensors.contains("optimizer.exp_avg." + gates.path()) ? "exp_avg."
                                                                       : "momentum_buffer.",
            gates.path());
    const std::vector<double> g = gates.value().to_vector(),
                              m = file.tensors.at("optimizer." + name).to_vector();
    int64_t at_top = 0, pushed = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      at_top += g[i] == 1 ? 1 : 0;
      pushed += (g[i] == 1 && m[i] < 0) || (g[i] == 0 && m[i] > 0) ? 1 : 0;
      CHECK(g[i] >= 0);
      CHECK(g[i] <= 1);
    }
    CHECK(at_top > static_cast<int64_t>(g.size()) / 10);  // decay would leave none
    CHECK(at_top < static_cast<int64_t>(g.size()));
    CHECK(pushed == 0);
  }
}

TEST_CASE("sparse_gates: threshold says which gates are open in the end") {
  int closed = 0;  // of the four below
  for (const double threshold : {0.1, 0.5, 0.9, 1.0}) {
    CAPTURE(threshold);
    TestPhase phase = sparse_gates(str("layers: [features.8], threshold: ", threshold), kStill);
    phase->start();
    const std::vector<double> w = values_of(phase, kWeight);
    set_gates(phase, kWeight, {0.2, 0.6, 0.95, 1});
    phase.steps(1);
    phase->finish();
    const std::vector<double> end = values_of(phase, kWeight);
    for (size_t i = 0; i < 4; ++i) CHECK(end[i] == (std::cmp_less(i, closed) ? 0 : w[i]));
    CHECK(zeros_in(end) == 64 * 32 * 9 / 4 * closed);
    ++closed;
  }
}

TEST_CASE("sparse_gates: only the chosen layers have gates") {
  TestPhase phase = sparse_gates("layers: [\"features.*\"], skip: [features.4]");
  std::vector<std::string> names;
  for (const Parameter& p : phase->state().helpers.at("compress.sparse_gates.gates")->parameters())
    names.push_back(p.path().substr(std::string("compress.sparse_gates.gates.").size()));
  CHECK(names == std::vector<std::string>{"features.8.weight", "features.11.weight"});
}

TEST_CASE("sparse_gates: the end is the rounded network; bn_images measures norms again") {
  for (const int bn_images : {0, 64}) {
    CAPTURE(bn_images);
    TestPhase phase = sparse_gates(str("gate_init: 0.5, bn_images: ", bn_images));
    phase->start();
    phase.steps(4);
    const Tensor images = phase.images(4), before = phase->network().logits(images);
    const std::vector<double> statistics = values_of(phase, "features.9.running_var");
    phase->finish();
    CHECK(phase->network().hooks().empty());
    CHECK(phase->state().masked_compact_max_rel < 1e-5);
    const double difference = relative_difference(before, phase->network().logits(images));
    CHECK((difference < 1e-5) == (bn_images == 0));
    if (bn_images > 0) CHECK(values_of(phase, "features.9.running_var") != statistics);
    CHECK(row(phase, "batch norms") ==
          (bn_images > 0 ? "4 measured again with rounded gates" : ""));
    CHECK(row(phase, "zeros").find("prunable weights (compression") != std::string::npos);
    CHECK(row(phase, "gates").find("% between 0.05 and 0.95") != std::string::npos);
    CHECK(row(phase, "dead units").find("cut") != std::string::npos);
  }
}

TEST_CASE("sparse_gates: gates decide while the loss falls") {
  TestPhase phase =
      sparse_gates("gate_init: 0.6, gate_lr_mult: 100, lambda1: 1.0e-4, lambda2: 1.0e-4",
                   {"phases.sparse.optim.lr=0.05", "phases.sparse.optim.momentum=0.9",
                    "phases.sparse.train.epochs=6"});
  phase->start();
  finish_epoch(phase);
  const double task = phase.mean("task"), zeros = phase.mean("sparse_gates.zeros_percent"),
               undecided = phase.mean("sparse_gates.undecided_percent");
  for (int epoch = 1; epoch < 6; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("task") < task);
  CHECK(phase.mean("sparse_gates.zeros_percent") > zeros);
  CHECK(phase.mean("sparse_gates.undecided_percent") < undecided);
}

TEST_CASE("sparse_gates: a transformer's linear layers have gates too") {
  TestPhase phase("{sparse_gates: {layers: [\"blocks.*\"], gate_init: 0.5}}");
  phase->start();
  phase.steps(2);
  const std::vector<double> seen = effective_weight(phase, "blocks.0.mlp.fc1.weight");
  CHECK(zeros_in(seen) > 0);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sparse_gates: a cut by another method takes gates and their momentum along") {
  TestPhase phase = pruning_phase("{sparse_gates: {}, l1_filters: {rate: 0.5, order: iterative}}",
                                  {"phases.sparse.optim.momentum=0.9"});
  phase->start();
  finish_epoch(phase);  // the first layer's filters go, and the second's kernels for them
  CHECK(gates_of(phase, "features.4.weight").value().shape() == Shape{32, 8, 3, 3});
  phase.steps(2);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sparse_gates: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/vgg28_sparse_gates.yaml", {}, {6, 11});
}

TEST_CASE("sparse_gates: another device gives the bits of the CPU") {
  check_same_on_fake_device("{sparse_gates: {gate_init: 0.5}}",
                            {"phases.sparse.optim.momentum=0.9"});
}

TEST_CASE("sparse_gates: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(sparse_gates(knobs), doctest::Contains(message), RecipeError);
  };
  refused("gate_init: 0", "gate_init: expected a number in (0, 1], got 0");
  refused("lambda2: -1", "lambda2: expected a number at least 0");
  refused("threshold: 2", "threshold: expected a number in [0, 1], got 2");
  refused("draw: always", "draw: expected");
  refused("layers: [features.99]", "features.99 matches no layer");
  CHECK_THROWS_WITH_AS(pruning_phase("{sparse_gates: {}, magnitude: {rounds: 1}}"),
                       doctest::Contains("both want the mask slot"), RecipeError);
}

}  // namespace
}  // namespace vtrain
