// DynamicViT, arXiv:2106.02034: identities and limits of the paper, and one test per knob.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/shape.h"
#include "compress/edit.h"
#include "compress/parts/token_select.h"
#include "nn/graph.h"
#include "tensor/ops/binary.h"
#include "tests/composition.h"
#include "tests/process.h"
#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs(
    "dynamicvit", std::nullopt,
    "{at: [1], keep_ratio: 0.5, teacher: dense, backbone_lr_scale: 1, freeze_epochs: 1}");

/// dynamicvit at blocks 1, 3, 4, for short runs: unless `knobs` say otherwise the dense phase
/// teaches, and everything learns.
std::string compress(const std::string& knobs) {
  std::string all = "{dynamicvit: {at: [1, 3, 4]";
  for (const std::string knob : {"teacher: dense", "backbone_lr_scale: 1", "freeze_epochs: 0"}) {
    if (knobs.find(knob.substr(0, knob.find(':') + 1)) == std::string::npos) all += ", " + knob;
  }
  return all + (knobs.empty() ? "" : ", " + knobs) + "}}";
}

std::unique_ptr<Network> dense_of(const TestPhase& phase) {
  return Network::load(phase.folder() / "dense.safetensors");
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.to_vector() == b.to_vector();
}

/// Lengths of the sequence that blocks 0..5 of a network see.
std::vector<int64_t> lengths(Network& network, const Tensor& images) {
  std::vector<int64_t> seen(6);
  for (int64_t i = 0; i < 6; ++i) {
    network.hooks().transform_value(
        str("blocks.", i, ".norm1.in"),
        {Slot::kCompute, "test", [&seen, i](const Variable& x, const Pass&) {
           seen[static_cast<size_t>(i)] = x.dim(1);
           return x;
         }});
  }
  network.logits(images);
  network.hooks().remove_owner("test");
  return seen;
}

TEST_CASE("dynamicvit: keeping every token gives the dense network's logits bit for bit") {
  TestPhase phase(compress("keep_ratio: 1"));
  const Tensor images = phase.images(8);
  const Tensor dense = dense_of(phase)->logits(images);
  CHECK(same_bits(phase->network().logits(images), dense));
  phase->finish();
  CHECK(same_bits(phase->network().logits(images), dense));
  CHECK(phase->state().masked_compact_max_rel == 0);
}

Tensor logits_in(DType dtype, Network& network, const Tensor& images) {
  Pass pass;
  pass.dtype = dtype;
  return network.forward(images, pass).logits.value();
}

/// Logits of class tokens when stage s at block at[s] keeps the tokens that sets[s] (N, P) marks
/// with 1, by hiding the others.
Tensor masked_logits(Network& network, const Tensor& images, const std::vector<int64_t>& at,
                     const std::vector<Tensor>& sets, DType dtype = DType::f32) {
  for (size_t s = 0; s < at.size(); ++s) {
    network.hooks().wrap_tokens(
        str("blocks.", at[s]),
        {Slot::kStructure, "test",
         [set = sets[s]](const Tokens& t, const InnerTokens& inner, const Pass&) {
           Tokens u = t;
           u.mask = concat({Variable(ones({set.dim(0), t.num_special})), Variable(set)}, 1);
           return inner(u);
         }});
  }
  const Tensor logits = logits_in(dtype, network, images);
  network.hooks().remove_owner("test");
  return logits;
}

/// The same when stage s gathers the counts[s] tokens of the highest score (N, P) of those left.
Tensor gathered_logits(Network& network, const Tensor& images, const std::vector<int64_t>& at,
                       const std::vector<int64_t>& counts, const Tensor& score, DType dtype) {
  Variable left(score);  // scores of the tokens still there, gathered along
  for (size_t s = 0; s < at.size(); ++s) {
    network.hooks().wrap_tokens(
        str("blocks.", at[s]),
        {Slot::kStructure, "test",
         [&left, k = counts[s]](const Tokens& t, const InnerTokens& inner, const Pass&) {
           const Tokens kept = keep_top(t, left, k);
           Tokens scores;
           scores.x = reshape(left, {left.dim(0), left.dim(1), 1});
           const Variable next = keep_top(scores, left, k).x;
           left = reshape(next, {next.dim(0), k});
           return inner(kept);
         }});
  }
  const Tensor logits = logits_in(dtype, network, images);
  network.hooks().remove_owner("test");
  return logits;
}

TEST_CASE("dynamicvit: masks of all ones change no bit") {
  TestPhase phase(compress(""));
  const auto network = dense_of(phase);
  const Tensor images = phase.images(4), all = ones({4, 49});
  CHECK(same_bits(masked_logits(*network, images, {1, 3, 4}, {all, all, all}),
                  network->logits(images)));
}

TEST_CASE(
    "dynamicvit: with given decisions the masked forward equals the gathered one on the same kept "
    "sets") {
  TestPhase phase(compress(""));
  const auto network = dense_of(phase);
  const Tensor images = phase.images(8);
  const std::vector<int64_t> at{1, 3, 4}, counts{34, 24, 16};
  const Random noise(1, "", "decisions");

  // Nested sets of all 49 patches, and the same sets as scores among the tokens that are left.
  std::vector<Tensor> sets;
  const Tensor score = noise.uniform({8, 49}, {});
  for (const int64_t k : counts) sets.push_back(top_mask(score, k));
  const Tensor dense = dense_of(phase)->logits(images);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const Tensor masked = masked_logits(*network, images, at, sets, dtype),
                 gathered = gathered_logits(*network, images, at, counts, score, dtype);
    // Sums over 50 keys run in another order than over 35, 25 or 17: f32 rounding through six
    // blocks. In bf16 some of those differences tip a rounding, which is 2^-8 of that element.
    CHECK(relative_difference(masked, gathered) < (dtype == DType::f32 ? 1e-5 : 0x1p-7));
    CHECK(relative_difference(masked, dense) > 0x1p-6);  // the sets matter
  }
}

TEST_CASE("dynamicvit: a phase in bf16 keeps masks and losses in f32, near those of an f32 phase") {
  TestPhase full(compress("")), half(compress(""));
  half->dtype = DType::bf16;
  full.steps(3);
  half.steps(3);
  // bf16 moves logits by about 1 %, and some decisions near 0 may fall otherwise.
  for (const char* const name :
       {"task", "dynamicvit.kl", "dynamicvit.distill", "dynamicvit.ratio", "dynamicvit.keep1"}) {
    CAPTURE(name);
    CHECK(half.mean(name) == doctest::Approx(full.mean(name)).epsilon(0.1));
  }
  CHECK(half.mean("dynamicvit.kl") != full.mean("dynamicvit.kl"));
  for (const Parameter& p : half->state().parameters()) {
    CAPTURE(p.path());
    CHECK(p.value().dtype() == DType::f32);
  }
  const Tensor images = half.images(8);
  const Tensor before = half->network().logits(images);
  half->finish();
  CHECK(half->state().masked_compact_max_rel == 0);
  CHECK(same_bits(half->network().logits(images), before));
}

TEST_CASE(
    "dynamicvit: predictors that say nothing keep the lowest positions, and special tokens always "
    "stay") {
  TestPhase phase(compress("counts: [20, 10, 5]"));
  for (const auto& [path, helper] : phase->state().helpers) {
    for (Parameter p : helper->parameters()) p.set(zeros(p.value().shape()));
  }
  const Tensor images = phase.images(4);
  std::vector<Tensor> sets;
  for (const int64_t k : {20, 10, 5}) {
    Tensor set = zeros({4, 49});
    set.slice(1, 0, k).fill(1);
    sets.push_back(set);
  }
  const auto dense = dense_of(phase);
  const Tensor expected = masked_logits(*dense, images, {1, 3, 4}, sets);
  CHECK(relative_difference(expected, phase->network().logits(images)) < 1e-5);
}

TEST_CASE("dynamicvit: what was trained is what finish leaves, and a file of it needs no method") {
  TestPhase phase(compress("keep_ratio: 0.5"));
  phase.steps(3);
  const Tensor images = phase.images(8);
  const Tensor before = phase->network().logits(images);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel == 0);
  CHECK(phase->network().hooks().empty());
  CHECK(same_bits(phase->network().logits(images), before));
  phase->network().save(phase.folder() / "sparse.safetensors");
  const auto loaded = Network::load(phase.folder() / "sparse.safetensors");
  CHECK(same_bits(loaded->logits(images), before));
  CHECK(loaded->parameter_count() ==
        dense_of(phase)->parameter_count() + 3 * 15386);  // 1.625 C^2 + 4.25 C + 2, C = 96
}

TEST_CASE(
    "dynamicvit: MACs are those of the formulas: blocks at their shortened lengths, and "
    "predictors") {
  // Width 96: a block has 4 L C^2 + 2 L^2 C + 8 L C^2 each, predictors n (1.625 C^2 + C / 2) on
  // the tokens in front of the cut.
  TestPhase phase(compress(""));
  phase->finish();
  const Graph graph(phase->network());
  const auto block = [](double n) { return 12 * n * 96 * 96 + 2 * n * n * 96; };
  const auto predictor = [](double n) { return n * (1.625 * 96 * 96 + 48); };
  const double expected = 49 * 16 * 96 + block(50) + 2 * block(35) + block(25) + 2 * block(17) +
                          predictor(49) + predictor(34) + predictor(24) + 960;
  CHECK(static_cast<double>(graph.macs()) == expected);
  CHECK(graph.macs("blocks.1.in") == static_cast<int64_t>(predictor(49)));
}

TEST_CASE("dynamicvit: keep_ratio, counts and at decide how many tokens each block sees") {
  const Tensor images = TestPhase(compress("")).images(2);
  const auto seen = [&](const std::string& knobs, const std::string& at) {
    TestPhase phase("{dynamicvit: {at: " + at + ", teacher: dense, " + knobs + "}}");
    phase->finish();
    return lengths(phase->network(), images);
  };
  CHECK(seen("keep_ratio: 0.7", "[1, 3, 4]") == std::vector<int64_t>{50, 35, 35, 25, 17, 17});
  CHECK(seen("keep_ratio: 0.5", "[1, 3, 4]") == std::vector<int64_t>{50, 25, 25, 13, 7, 7});
  CHECK(seen("keep_ratio: 0.7", "[0, 5]") == std::vector<int64_t>{35, 35, 35, 35, 35, 25});
  CHECK(seen("counts: [40, 9]", "[0, 5]") == std::vector<int64_t>{41, 41, 41, 41, 41, 10});
}

TEST_CASE("dynamicvit: each lambda scales its term, and 0 removes it") {
  const auto term = [](const std::string& knobs, const std::string& name) {
    TestPhase phase(compress(knobs));
    phase.steps(1);
    return phase.mean(name);
  };
  for (const char* const name : {"kl", "distill", "ratio"}) {
    CAPTURE(name);
    const std::string lambda = str("lambda_", name), full = str("dynamicvit.", name);
    const double once = term(lambda + ": 0.5", full);
    CHECK(once > 0);
    CHECK(term(lambda + ": 1.5", full) == doctest::Approx(3 * once).epsilon(1e-5));
    CHECK(std::isnan(term(lambda + ": 0", full)));
  }
  CHECK(term("lambda_cls: 2", "task") == doctest::Approx(2 * term("", "task")).epsilon(1e-6));
}

TEST_CASE("dynamicvit: without its two terms no teacher is loaded or run") {
  TestPhase with(compress("")), without(compress("lambda_kl: 0, lambda_distill: 0"));
  CHECK(with->state().teachers.size() == 1);
  CHECK(without->state().teachers.empty());
}

TEST_CASE("dynamicvit: the teacher self is the network this phase began with") {
  TestPhase named(compress("")), self(compress("teacher: self"));
  named.steps(3);
  self.steps(3);
  CHECK(named.mean("dynamicvit.kl") == self.mean("dynamicvit.kl"));
}

TEST_CASE("dynamicvit: the teacher's tokens equal the student's before any token is dropped") {
  // With keep_ratio 1 the ratio term pulls nothing, and decisions of the first step still drop
  // tokens: so compare in evaluation.
  TestPhase phase(compress("keep_ratio: 1"));
  Teacher& teacher = *phase->state().teachers.at("dense");
  const Tensor images = phase.images(4);
  teacher.show(images);
  CHECK(same_bits(teacher.logits(), phase->network().logits(images)));
}

/// Largest change of a parameter whose path starts with `prefix`, between the start and now.
double moved(TestPhase& phase, const std::map<std::string, Tensor>& before,
             const std::string& prefix) {
  double largest = 0;
  for (const Parameter& p : phase->state().parameters()) {
    if (!p.path().starts_with(prefix)) continue;
    const std::vector<double> a = before.at(p.path()).to_vector(), b = p.value().to_vector();
    for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

std::map<std::string, Tensor> snapshot(TestPhase& phase) {
  std::map<std::string, Tensor> all;
  for (const Parameter& p : phase->state().parameters()) all[p.path()] = p.value().clone();
  return all;
}

TEST_CASE(
    "dynamicvit: while freeze_epochs last only the predictors move; class token and positions "
    "never do") {
  TestPhase phase(compress("freeze_epochs: 1"));
  const auto before = snapshot(phase);
  phase.steps(2);
  CHECK(moved(phase, before, "blocks.") == 0);
  CHECK(moved(phase, before, "head.") == 0);
  CHECK(moved(phase, before, "compress.dynamicvit.predictor0") > 0);
  phase->epoch = 1;
  phase->step_in_epoch = 0;
  phase.steps(2);
  CHECK(moved(phase, before, "blocks.") > 0);
  CHECK(moved(phase, before, "cls_token") == 0);
  CHECK(moved(phase, before, "pos_embed") == 0);
}

TEST_CASE(
    "dynamicvit: backbone_lr_scale scales the backbone's step and leaves the predictors' alone") {
  const auto step = [](const std::string& scale, const std::string& prefix) {
    TestPhase phase(
        "{dynamicvit: {at: [1, 3], teacher: dense, freeze_epochs: 0, backbone_lr_scale: " + scale +
        "}}");
    const auto before = snapshot(phase);
    phase.steps(1);
    return moved(phase, before, prefix);
  };
  // Plain SGD: the step is lr * gradient, so it scales exactly but for f32 rounding of weights near
  // 0.02.
  CHECK(step("1", "blocks.5.mlp.fc2.weight") ==
        doctest::Approx(10 * step("0.1", "blocks.5.mlp.fc2.weight")).epsilon(1e-3));
  CHECK(step("1", "compress.") == step("0.1", "compress."));
}

TEST_CASE("dynamicvit: a larger tau weakens the predictors' gradient and changes no decision") {
  // The decision's sign does not depend on tau; the slope of the sigmoid does, so the gradients
  // differ.
  const auto gradient = [](const std::string& tau) {
    TestPhase phase(compress("lambda_kl: 0, lambda_distill: 0, tau: " + tau));
    const auto before = snapshot(phase);
    phase.steps(1);
    return std::pair{moved(phase, before, "compress.dynamicvit.predictor0.out_conv.4"),
                     phase.mean("dynamicvit.keep1")};
  };
  const auto [small, kept_small] = gradient("1");
  const auto [large, kept_large] = gradient("100");
  CHECK(kept_small == kept_large);
  CHECK(small > 5 * large);
}

TEST_CASE("dynamicvit: mask_eps and mask_max reach the masked softmax") {
  const auto loss = [](const std::string& knobs) {
    TestPhase phase(compress(knobs));
    phase.steps(1);
    return phase.mean("loss");
  };
  const double exact = loss("");
  CHECK(loss("mask_eps: 1.0e-6") ==
        doctest::Approx(exact).epsilon(1e-4));  // the published form is close,
  CHECK(loss("mask_eps: 1.0e+3") != doctest::Approx(exact).epsilon(1e-4));  // a large eps is not
  CHECK(loss("mask_eps: 1.0, mask_max: all") != loss("mask_eps: 1.0"));
}

TEST_CASE("dynamicvit: another seed draws other decisions, the same seed the same") {
  const auto kept = [](const std::string& seed) {
    TestPhase phase(compress(""), {"seed=" + seed});
    phase.steps(2);
    return phase.mean("dynamicvit.keep1");
  };
  CHECK(kept("3") == kept("3"));
  CHECK(kept("3") != kept("4"));
}

TEST_CASE(
    "dynamicvit: the random scorer keeps exact counts in training, trains no predictor, and leaves "
    "none behind") {
  TestPhase phase(compress("scorer: random"));
  phase.steps(2);
  CHECK(phase.mean("dynamicvit.keep1") == doctest::Approx(34.0 / 49).epsilon(1e-6));
  CHECK(phase.mean("dynamicvit.keep3") == doctest::Approx(16.0 / 49).epsilon(1e-6));
  CHECK(phase->state().helpers.empty());
  phase->finish();
  CHECK(phase->network().parameter_count() == dense_of(phase)->parameter_count());
  const Tensor images = phase.images(2);
  CHECK(lengths(phase->network(), images) == std::vector<int64_t>{50, 35, 35, 25, 17, 17});
}

TEST_CASE("dynamicvit: an image that would keep no token keeps its best one") {
  TestPhase phase(compress("counts: [9, 3, 1], lambda_ratio: 0"));
  // A bias that says "drop" so strongly that no noise overcomes it.
  for (const auto& [path, helper] : phase->state().helpers) {
    for (Parameter p : helper->parameters()) {
      if (p.path().ends_with("out_conv.4.bias")) p.set(from_values({2}, {-50, 50}));
    }
  }
  phase.steps(1);
  CHECK(phase.mean("dynamicvit.keep1") == doctest::Approx(1.0 / 49).epsilon(1e-6));
  CHECK(phase.mean("dynamicvit.keep3") == doctest::Approx(1.0 / 49).epsilon(1e-6));
  CHECK(std::isfinite(phase.mean("loss")));
}

TEST_CASE("dynamicvit: a short training moves the keep ratios to what was asked for") {
  TestPhase phase(compress("lambda_ratio: 20, backbone_lr_scale: 0.1"),
                  {"optim.name=adamw", "~optim.momentum", "optim.lr=0.003", "train.epochs=20"});
  phase.steps(1);
  const double start = std::abs(phase.mean("dynamicvit.keep1") - 0.7);
  for (int epoch = 0; epoch < 8; ++epoch) {
    phase->epoch = epoch;
    phase->step_in_epoch = 0;
    phase->means.clear();
    phase.steps(8);
  }
  CHECK(start > 0.1);  // fresh predictors keep one half
  CHECK(std::abs(phase.mean("dynamicvit.keep1") - 0.7) < 0.05);
  CHECK(std::abs(phase.mean("dynamicvit.keep2") - 0.49) < 0.08);
}

TEST_CASE("dynamicvit: sparse.safetensors evaluates without recipe or method, like the run said") {
  const TemporaryFolder folder;
  const std::string recipe = std::string(VTRAIN_SOURCE_DIR) + "/tests/train/tiny.yaml";
  const ProcessResult trained =
      run_vtrain({recipe, "--quiet", "--json", "out.dir=" + (folder / "runs")});
  REQUIRE_MESSAGE(trained.exit_code == 0, trained.errors);
  const ProcessResult evaluated =
      run_vtrain({"eval", folder / "runs/last/sparse.safetensors", "--data", "synthetic"});
  REQUIRE_MESSAGE(evaluated.exit_code == 0, evaluated.errors);
  const size_t sparse = trained.output.find("\"sparse\":{\"top1_percent\":");
  REQUIRE(sparse != std::string::npos);
  const double said = std::stod(trained.output.substr(sparse + 25));
  const double measured = std::stod(evaluated.output.substr(std::string("* Acc@1 ").size()));
  CHECK(measured == doctest::Approx(said).epsilon(1e-4));
}

}  // namespace
}  // namespace vtrain
