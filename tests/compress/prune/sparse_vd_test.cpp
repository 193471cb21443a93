// Sparse variational dropout, arXiv:1701.05369: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/edit.h"
#include "tests/composition.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("sparse_vd", "{log_sigma2_init: -6, threshold: 1, kl_start: 0}",
                           "{log_sigma2_init: -6, threshold: 1, kl_start: 0}");

using doctest::Approx;

const std::string kConv = "features.8", kLinear = "classifier";
const std::vector<std::string> kStill = {"phases.sparse.optim.lr=1e-30"};
const std::vector<std::string> kAdam = {"optim={name: adamw, lr: 0.01, weight_decay: 0}"};
/// No divergence, and noise only where a test asks for it.
const std::string kQuiet = "kl_weight: 0, log_sigma2_init: -200, var_floor: 0";

/// The divergence acts from the first epoch on, unless the knobs say something else.
TestPhase sparse_vd(std::string knobs, std::vector<std::string> overrides = {}) {
  if (knobs.find("kl_start") == std::string::npos) knobs = "kl_start: 0, " + knobs;
  return pruning_phase("{sparse_vd: {" + knobs + "}}", std::move(overrides));
}

Parameter log_sigma2_of(TestPhase& phase, const std::string& layer) {
  for (const Parameter& p :
       phase->state().helpers.at("compress.sparse_vd.log_sigma2")->parameters()) {
    if (p.path() == "compress.sparse_vd.log_sigma2." + layer + ".weight") return p;
  }
  FAIL("no variances of ", layer);
  return {};
}

/// log sigma^2 - log(theta^2 + 1e-8).
std::vector<double> levels_of(TestPhase& phase, const std::string& layer) {
  std::vector<double> levels = log_sigma2_of(phase, layer).value().to_vector();
  const std::vector<double> theta = values_of(phase, layer + ".weight");
  for (size_t i = 0; i < levels.size(); ++i) levels[i] -= std::log(theta[i] * theta[i] + 1e-8);
  return levels;
}

int64_t count_above(const std::vector<double>& values, double bound) {
  return std::ranges::count_if(values, [bound](double v) { return v >= bound; });
}

Pass training_pass(TestPhase& phase, int64_t step) {
  Pass pass;
  pass.is_training = true;
  pass.step = step;
  pass.hooks = &phase->network().hooks();
  return pass;
}

/// What a layer computes from x in training, hooks on.
Tensor drawn(TestPhase& phase, const std::string& layer, const Tensor& x, int64_t step) {
  return phase->network().module(layer)(Variable(x), training_pass(phase, step)).value();
}

/// One input for many draws: row after row the same.
Tensor repeated(const std::vector<double>& row, Shape shape) {
  std::vector<double> all;
  for (int64_t n = 0; n < shape[0]; ++n) all.insert(all.end(), row.begin(), row.end());
  return from_values(shape, all);
}

/// Checks that columns of draws (N, values), many of each, have these means and variances.
void check_moments(const std::vector<double>& draws, const std::vector<double>& means,
                   const std::vector<double>& variances) {
  const double n = static_cast<double>(draws.size() / means.size());
  for (size_t v = 0; v < means.size(); ++v) {
    double sum = 0, squares = 0;
    for (size_t i = v; i < draws.size(); i += means.size()) {
      sum += draws[i] - means[v];
      squares += (draws[i] - means[v]) * (draws[i] - means[v]);
    }
    CAPTURE(v);
    CHECK(std::abs(sum / n) < 4 * std::sqrt(variances[v] / n));
    CHECK(std::abs(squares / n - variances[v]) < 4 * variances[v] * std::sqrt(2 / n));
  }
}

std::string row(TestPhase& phase, const std::string& name) {
  for (const auto& [row, text] : phase->state().report) {
    if (row == name) return text;
  }
  return "";
}

TEST_CASE("sparse_vd: without noise and divergence it is plain training, byte for byte") {
  TestPhase plain = pruning_phase("{}"), none = sparse_vd(kQuiet + ", bn_images: 0");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    phase->steps(3);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
}

TEST_CASE("sparse_vd: values of a linear layer have the moments of drawn weights") {
  TestPhase phase = sparse_vd("log_sigma2_init: -5, var_floor: 0");
  const std::vector<double> x = Random(2, "", "x").normal({1, 64}, {}).to_vector(),
                            theta = values_of(phase, "classifier.weight"),
                            bias = values_of(phase, "classifier.bias");
  std::vector<double> means, variances;
  for (size_t k = 0; k < 10; ++k) {
    double mean = bias[k], variance = 0;
    for (size_t i = 0; i < 64; ++i) {
      mean += theta[k * 64 + i] * x[i];
      variance += x[i] * x[i] * std::exp(-5.0);
    }
    means.push_back(mean);
    variances.push_back(variance);
  }
  std::vector<double> draws;
  for (int64_t step = 0; step < 5; ++step) {
    const std::vector<double> y = drawn(phase, kLinear, repeated(x, {4000, 64}), step).to_vector();
    draws.insert(draws.end(), y.begin(), y.end());
  }
  check_moments(draws, means, variances);

  // The same from weights that are drawn themselves.
  std::vector<double> direct;
  const Random random(3, "", "weights");
  for (int64_t step = 0; step < 4000; ++step) {
    const std::vector<double> e = random.normal({10, 64}, {.step = step}).to_vector();
    for (size_t k = 0; k < 10; ++k) {
      double y = bias[k];
      for (size_t i = 0; i < 64; ++i)
        y += (theta[k * 64 + i] + std::exp(-2.5) * e[k * 64 + i]) * x[i];
      direct.push_back(y);
    }
  }
  check_moments(direct, means, variances);
}

TEST_CASE("sparse_vd: values of a padded convolution have the moments of drawn weights") {
  TestPhase phase = sparse_vd("log_sigma2_init: -6");
  const int64_t in = 16, size = 3;
  const std::vector<double> x = Random(2, "", "x").normal({1, in * size * size}, {}).to_vector(),
                            theta = values_of(phase, "features.4.weight");
  const bool has_bias = phase->network().state().contains("features.4.bias");
  const std::vector<double> bias =
      has_bias ? values_of(phase, "features.4.bias") : std::vector<double>(32, 0.0);
  // Filter 5 at all positions, by hand.
  std::vector<double> means, variances;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      double mean = bias[5], variance = 1e-8;
      for (int64_t c = 0; c < in; ++c) {
        for (int64_t p = -1; p <= 1; ++p) {
          for (int64_t q = -1; q <= 1; ++q) {
            if (i + p < 0 || i + p >= size || j + q < 0 || j + q >= size) continue;
            const double value = x[static_cast<size_t>((c * size + i + p) * size + j + q)];
            mean += value * theta[static_cast<size_t>(((5 * in + c) * 3 + p + 1) * 3 + q + 1)];
            variance += value * value * std::exp(-6.0);
          }
        }
      }
      means.push_back(mean);
      variances.push_back(variance);
    }
  }
  const Tensor y =
      drawn(phase, "features.4", repeated(x, {10000, in, size, size}).channels_last(), 0);
  check_moments(y.slice(1, 5, 6).contiguous().to_vector(), means, variances);
}

TEST_CASE("sparse_vd: noise is that of the step and the sample, and none in evaluation") {
  TestPhase phase = sparse_vd("log_sigma2_init: -5");
  const Tensor x = Random(2, "", "x").normal({4, 64}, {});
  CHECK(drawn(phase, kLinear, x, 1).to_vector() == drawn(phase, kLinear, x, 1).to_vector());
  CHECK(drawn(phase, kLinear, x, 1).to_vector() != drawn(phase, kLinear, x, 2).to_vector());
  // The second half of a batch as a micro-batch of its own.
  Pass half = training_pass(phase, 1);
  half.first_sample = 2;
  const Variable second = phase->network().module(kLinear)(Variable(x.slice(0, 2, 4)), half);
  CHECK(second.value().to_vector() == drawn(phase, kLinear, x, 1).slice(0, 2, 4).to_vector());
  // What stays in evaluation are weights below the threshold, as they are.
  Pass evaluation;
  evaluation.hooks = &phase->network().hooks();
  const std::vector<double> theta = values_of(phase, "classifier.weight"),
                            level = levels_of(phase, kLinear),
                            seen = phase->network()
                                       .parameter("classifier.weight")
                                       .effective_full(evaluation)
                                       .value()
                                       .to_vector();
  for (size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == (level[i] >= 3 ? 0 : theta[i]));
  CHECK(zeros_in(seen) > 0);
  CHECK(zeros_in(seen) < 640);
}

TEST_CASE("sparse_vd: the divergence is off for kl_start epochs and grows for kl_ramp") {
  TestPhase phase = sparse_vd("kl_start: 5, kl_ramp: 15",
                              {"phases.sparse.optim.lr=1e-30", "phases.sparse.train.epochs=24"});
  phase->start();
  double whole = 0;  // the approximation of the paper, by hand
  for (const char* const layer : {"features.4", "features.8", "features.11", "classifier"}) {
    for (const double level : levels_of(phase, layer)) {
      const double a = std::clamp(level, -8.0, 8.0);
      whole += 0.63576 - 0.63576 / (1 + std::exp(-1.8732 - 1.48695 * a)) +
               0.5 * std::log1p(std::exp(-a));
    }
  }
  const auto kl_at = [&](int64_t epoch, int64_t step_in_epoch) {
    phase->epoch = epoch;
    phase->step_in_epoch = step_in_epoch;
    phase->means.clear();
    phase.steps(1);
    return phase.mean("sparse_vd.kl");
  };
  REQUIRE(phase->steps_per_epoch() == 8);
  CHECK(kl_at(4, 7) == 0);
  CHECK(kl_at(5, 0) == 0);
  CHECK(kl_at(12, 4) == Approx(whole / 64 / 2).epsilon(1e-4));  // of 64 training images
  CHECK(kl_at(20, 0) == Approx(whole / 64).epsilon(1e-4));
  CHECK(kl_at(22, 0) == Approx(whole / 64).epsilon(1e-4));

  TestPhase at_once = sparse_vd("kl_ramp: 0, kl_weight: 3", kStill);
  at_once->start();
  at_once.steps(1);
  CHECK(at_once.mean("sparse_vd.kl") == Approx(3 * whole / 64).epsilon(1e-4));
}

TEST_CASE("sparse_vd: until the divergence acts in full no epoch is the best") {
  TestPhase phase = sparse_vd("kl_ramp: 1", {"phases.sparse.train.epochs=2"}),
            without = sparse_vd("kl_weight: 0");
  phase->start();
  CHECK(without->is_settled());
  for (const bool is_settled : {false, true}) {
    finish_epoch(phase);
    CHECK(phase->is_settled() == is_settled);
  }
}

TEST_CASE("sparse_vd: the divergence makes noise grow, and kl_weight says how much that is worth") {
  const auto mean_level = [](double kl_weight) {
    TestPhase phase = sparse_vd(str("kl_ramp: 0, log_sigma2_init: -8, kl_weight: ", kl_weight),
                                {"phases.sparse.optim.lr=0.1"});
    phase->start();
    phase.steps(8);
    double sum = 0;
    for (const double v : log_sigma2_of(phase, kConv).value().to_vector()) sum += v;
    return sum / static_cast<double>(log_sigma2_of(phase, kConv).value().numel());
  };
  const double none = mean_level(0), once = mean_level(1), much = mean_level(4);
  CHECK(none < -7.99);  // the task alone wants no noise
  CHECK(once > none + 1e-3);
  CHECK(much > once + 1e-3);
}

TEST_CASE("sparse_vd: exactly the weights at or above the threshold are zeros in the end") {
  int64_t last = 1 << 30;
  for (const double threshold : {1.0, 3.0, 6.0}) {
    TestPhase phase = sparse_vd(str("log_sigma2_init: -8, threshold: ", threshold), kStill);
    phase->start();
    const int64_t expected = count_above(levels_of(phase, kConv), threshold);
    phase.steps(1);
    phase->finish();
    CHECK(zeros_in(values_of(phase, "features.8.weight")) == expected);
    CHECK(expected < last);
    last = expected;
  }
  CHECK(last > 0);
}

TEST_CASE("sparse_vd: with train_clip weights above the threshold get no gradient of the task") {
  for (const bool clips : {false, true}) {
    CAPTURE(clips);
    TestPhase phase =
        sparse_vd(str("kl_weight: 0, log_sigma2_init: -4, train_clip: ", clips ? "true" : "false"));
    phase->start();
    const std::vector<double> level = levels_of(phase, kConv),
                              before = values_of(phase, "features.8.weight");
    phase.steps(1);
    const std::vector<double> after = values_of(phase, "features.8.weight");
    int64_t moved = 0, clipped = count_above(level, 3);
    for (size_t i = 0; i < after.size(); ++i)
      moved += level[i] >= 3 && after[i] != before[i] ? 1 : 0;
    REQUIRE(clipped > 100);
    CHECK((clips ? moved == 0 : moved > clipped / 2));
  }
}

TEST_CASE("sparse_vd: beyond la_clip the divergence rewards nothing") {
  const auto moved = [](double la_clip) {
    TestPhase phase = sparse_vd(str("kl_ramp: 0, log_sigma2_init: -18, la_clip: ", la_clip),
                                {"phases.sparse.optim.lr=1"});
    phase->start();
    phase.steps(1);
    double sum = 0;
    for (const double v : log_sigma2_of(phase, kConv).value().to_vector()) sum += std::abs(v + 18);
    return sum;
  };
  CHECK(moved(20) > 1);
  // Weights near 0 are inside the clip all the same, and the task has a gradient too.
  CHECK(moved(4) < 2e-2 * moved(20));
}

TEST_CASE("sparse_vd: var_floor is the variance where weights bear none") {
  const auto spread = [](const std::string& floor) {
    TestPhase phase = sparse_vd("log_sigma2_init: -200, var_floor: " + floor);
    const Tensor y = drawn(phase, kLinear, zeros({4000, 64}), 0);
    const std::vector<double> bias = values_of(phase, "classifier.bias"), values = y.to_vector();
    double squares = 0;
    for (size_t i = 0; i < values.size(); ++i)
      squares += (values[i] - bias[i % 10]) * (values[i] - bias[i % 10]);
    return squares / static_cast<double>(values.size());
  };
  CHECK(spread("0") == 0);
  CHECK(spread("1.0e-6") == Approx(1e-6).epsilon(0.05));  // 40000 draws: 4 s.e. are 3 %
}

TEST_CASE("sparse_vd: variances start at log_sigma2_init, of the chosen layers only") {
  TestPhase phase =
      sparse_vd("log_sigma2_init: -7.5, layers: [\"features.*\"], skip: [features.4]");
  const auto& helper = *phase->state().helpers.at("compress.sparse_vd.log_sigma2");
  std::vector<std::string> names;
  for (const Parameter& p : helper.parameters()) {
    names.push_back(p.path().substr(std::string("compress.sparse_vd.log_sigma2.").size()));
    const std::vector<double> values = p.value().to_vector();
    CHECK(std::ranges::count(values, -7.5) == static_cast<int64_t>(values.size()));
  }
  CHECK(names == std::vector<std::string>{"features.8.weight", "features.11.weight"});
}

TEST_CASE("sparse_vd: neither weights nor variances are decayed") {
  const std::string all = kQuiet + ", first_layer: prune";
  TestPhase decayed = sparse_vd(all, {"phases.sparse.optim.weight_decay=0.1"}),
            plain = sparse_vd(all);
  for (TestPhase* const phase : {&decayed, &plain}) {
    (*phase)->start();
    phase->steps(3);
  }
  CHECK(values_of(decayed) == values_of(plain));
  CHECK(log_sigma2_of(decayed, kConv).value().to_vector() ==
        log_sigma2_of(plain, kConv).value().to_vector());
}

TEST_CASE("sparse_vd: the end is the network that was evaluated; bn_images measures norms again") {
  for (const int bn_images : {0, 64}) {
    CAPTURE(bn_images);
    TestPhase phase = sparse_vd(str("log_sigma2_init: -6, threshold: 1, bn_images: ", bn_images));
    phase->start();
    phase.steps(4);
    const Tensor images = phase.images(4), before = phase->network().logits(images);
    const std::vector<double> statistics = values_of(phase, "features.9.running_var");
    phase->finish();
    CHECK(phase->network().hooks().empty());
    CHECK(phase->state().masked_compact_max_rel < 1e-5);
    const double difference = relative_difference(before, phase->network().logits(images));
    if (bn_images == 0) {
      CHECK(difference < 1e-5);
      CHECK(row(phase, "batch norms").empty());
    } else {
      CHECK(difference > 1e-3);
      CHECK(values_of(phase, "features.9.running_var") != statistics);
      CHECK(row(phase, "batch norms") == "4 measured again without noise");
    }
    CHECK(row(phase, "zeros").find("prunable weights (compression") != std::string::npos);
    CHECK(row(phase, "dead units").find("cut") != std::string::npos);
  }
}

TEST_CASE("sparse_vd: weights go while the loss falls") {
  TestPhase phase = sparse_vd("log_sigma2_init: -6, kl_ramp: 1, kl_weight: 0.02",
                              {kAdam.front(), "phases.sparse.train.epochs=6"});
  phase->start();
  finish_epoch(phase);
  const double task = phase.mean("task"), zeros = phase.mean("sparse_vd.zeros_percent");
  for (int epoch = 1; epoch < 6; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("task") < task);
  CHECK(phase.mean("sparse_vd.zeros_percent") > zeros + 10);
  CHECK(phase.mean("sparse_vd.log_alpha_max") > 3);
  CHECK(phase.mean("sparse_vd.log_alpha_min") < 0);
}

TEST_CASE("sparse_vd: layers that compute in bf16 draw nearly what they draw in f32") {
  const auto loss = [](DType dtype) {
    TestPhase phase = sparse_vd("log_sigma2_init: -5");
    phase->dtype = dtype;
    phase->start();
    phase.steps(2);
    return phase.mean("task");
  };
  const double wide = loss(DType::f32), narrow = loss(DType::bf16);
  CHECK(narrow != wide);
  CHECK(narrow == Approx(wide).epsilon(0.03));
}

TEST_CASE("sparse_vd: a transformer's linear layers learn their noise too") {
  TestPhase phase(
      "{sparse_vd: {layers: [\"blocks.*\"], log_sigma2_init: -4, threshold: 1, kl_start: 0}}");
  phase->start();
  phase.steps(2);
  phase->finish();
  CHECK(zeros_in(values_of(phase, "blocks.0.mlp.fc1.weight")) > 0);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sparse_vd: a cut by another method takes variances along") {
  TestPhase phase =
      pruning_phase("{sparse_vd: {kl_start: 0}, l1_filters: {rate: 0.5, order: iterative}}",
                    {"phases.sparse.optim.momentum=0.9"});
  phase->start();
  finish_epoch(phase);  // the first layer's filters go, and the second's kernels for them
  CHECK(log_sigma2_of(phase, "features.4").value().shape() == Shape{32, 8, 3, 3});
  phase.steps(2);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("sparse_vd: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/vgg28_sparse_vd.yaml",
                        {"phases.pruned.compress.sparse_vd.kl_ramp=1"}, {6, 11});
}

TEST_CASE("sparse_vd: another device gives the bits of the CPU") {
  check_same_on_fake_device("{sparse_vd: {log_sigma2_init: -5, kl_start: 0, kl_ramp: 1}}");
}

TEST_CASE("sparse_vd: misuse is refused before the first batch, with the place") {
  const auto refused = [](const std::string& knobs, const char* message) {
    CAPTURE(knobs);
    CHECK_THROWS_WITH_AS(sparse_vd(knobs), doctest::Contains(message), RecipeError);
  };
  refused("threshold: 0", "threshold: expected a number in [1, 8], got 0");
  refused("log_sigma2_init: 1", "log_sigma2_init: expected a number in [-200, 0]");
  refused("layers: [features.99]", "features.99 matches no layer");
  refused("kl_start: 2", "kl_start: expected less than the 2 epochs of phase sparse, got 2");
  CHECK_THROWS_WITH_AS(pruning_phase("{sparse_vd: {kl_start: 0}, dns: {}}"),
                       doctest::Contains("dns and sparse_vd both want the mask slot"), RecipeError);
}

}  // namespace
}  // namespace vtrain
