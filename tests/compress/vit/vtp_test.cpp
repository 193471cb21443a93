// Vision transformer pruning, arXiv:2104.08500: identities, one test per knob, resume, misuse.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "compress/deploy/compare.h"
#include "compress/edit.h"
#include "nn/graph.h"
#include "nn/layers/select_channels.h"
#include "tests/composition.h"
#include "tests/cutting.h"
#include "tests/fake_device.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("vtp", std::nullopt,
                           "{lambda: 0.01, prune_rate: 0.3, sparse_epochs: 1}");

const std::vector<std::string> kStandStill = {"optim.lr=1e-30"};

/// The phase's methods; no penalty unless `knobs` say so.
std::string compress(const std::string& knobs) {
  const std::string lambda = knobs.find("lambda:") == std::string::npos ? "lambda: 0, " : "";
  return "{vtp: {" + lambda + knobs + "}}";
}
TestPhase vtp(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return TestPhase(compress(knobs), std::move(overrides));
}

Parameter helper(TestPhase& phase, const std::string& name) {
  for (const Parameter& p : phase->state().helpers.at("compress.vtp.gates")->parameters()) {
    if (p.path() == "compress.vtp.gates." + name) return p;
  }
  throw Error("test: no helper " + name);
}
std::vector<double> scores(TestPhase& phase, const std::string& layer) {
  return helper(phase, "score." + layer).value().to_vector();
}
int64_t hidden(TestPhase& phase, const std::string& layer) {
  return zeros_in(helper(phase, "mask." + layer).value().to_vector());
}

/// Scores in +-[0.5, 1.5], all of other sizes.
void scatter_scores(TestPhase& phase) {
  for (Parameter p : phase->state().helpers.at("compress.vtp.gates")->parameters()) {
    if (p.is_buffer()) continue;
    const Tensor u = Random(4, "", p.path()).uniform(p.value().shape(), {});
    std::vector<double> values = u.to_vector();
    for (double& v : values) v = v < 0.5 ? v - 1.5 : v + 0.5;
    p.set(from_values(p.value().shape(), values));
  }
}

constexpr std::array<const char*, 4> kLayers = {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"};

/// Features that go, by block and layer.
std::vector<int64_t> all_hidden(TestPhase& phase) {
  std::vector<int64_t> all;
  for (int b = 0; b < 6; ++b) {
    for (const char* const layer : kLayers)
      all.push_back(hidden(phase, str("blocks.", b, ".", layer)));
  }
  return all;
}
int64_t total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

/// A phase whose features are chosen by scattered scores, and nothing else has moved.
class ChosenPhase final : public TestPhase {
 public:
  explicit ChosenPhase(const std::string& knobs) : TestPhase(compress(knobs), kStandStill) {
    scatter_scores(*this);
    (*this)->start();
    finish_epoch(*this);
  }
};

Shape shape_of(TestPhase& phase, const std::string& parameter) {
  return phase->network().parameter(parameter).value().shape();
}

TEST_CASE("vtp: scores of 1 that do not learn leave training as it is, byte for byte") {
  TestPhase plain("{}"), none = vtp("gate_lr_scale: 0, prune_rate: 0");
  for (TestPhase* const phase : {&plain, &none}) {
    (*phase)->start();
    finish_epoch(*phase);
    phase->steps(2);
    (*phase)->finish();
  }
  CHECK(values_of(plain) == values_of(none));
  CHECK(none->network().architecture().parts.empty());
}

TEST_CASE("vtp: a block whose neurons all score 0 adds the bias of its last layer") {
  TestPhase phase = vtp("");
  Parameter score = helper(phase, "score.blocks.2.mlp.fc2");
  score.set(zeros(score.value().shape()));
  const auto dense = Network::load(phase.folder() / "dense.safetensors");
  Tensor weight = dense->parameter("blocks.2.mlp.fc2.weight").value();
  weight.fill(0);
  const Tensor images = phase.images(4);
  CHECK(relative_difference(dense->logits(images), phase->network().logits(images)) < 1e-6);
}

TEST_CASE("vtp: the end is a smaller network that computes what the masked one did") {
  ChosenPhase phase("prune_rate: 0.5");
  const int64_t macs = Graph(phase->network()).macs();
  const std::vector<int64_t> gone = all_hidden(phase);
  const Tensor images = phase.images(8), before = phase->network().logits(images);
  phase->finish();
  CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
  CHECK(phase->network().hooks().empty());
  CHECK(total(gone) == 2016);  // of 6 (96 + 96 + 96 + 384)
  for (int b = 0; b < 6; ++b) {
    CAPTURE(b);
    const auto left = [&](size_t layer, int64_t of) {
      return of - gone[static_cast<size_t>(b) * 4 + layer];
    };
    const std::string block = str("blocks.", b, ".");
    const int64_t values = left(1, 96);
    CHECK(shape_of(phase, block + "attn.qkv.weight") == Shape{192 + values, left(0, 96)});
    CHECK(shape_of(phase, block + "attn.proj.weight") == Shape{96, values});
    CHECK(shape_of(phase, block + "mlp.fc1.weight") == Shape{left(3, 384), left(2, 96)});
    CHECK(shape_of(phase, block + "mlp.fc2.weight") == Shape{96, left(3, 384)});
    CHECK(shape_of(phase, block + "norm1.weight") == Shape{96});
  }
  // Half of the inputs and half of the outputs: the matrix products shrink by more than half.
  CHECK(Graph(phase->network()).macs() < 0.7 * static_cast<double>(macs));

  phase->network().save(phase.folder() / "small.safetensors");
  const auto loaded = Network::load(phase.folder() / "small.safetensors");
  CHECK(loaded->logits(images).to_vector() == phase->network().logits(images).to_vector());
  Plan plan(phase->network());
  CHECK(compare(plan, phase->network(), images, 1e-4).logits < 1e-5);
}

TEST_CASE("vtp: selected inputs, cut with everything else, are exact in f64") {
  for (const GroupedCut grouped : {GroupedCut::kAligned, GroupedCut::kWhole}) {
    Network network({.model = "vit_nano_patch4_28", .options = {}, .parts = {}});
    network.initialise(1);
    for (const char* const place : {"blocks.0.attn.qkv.in", "blocks.2.mlp.fc1.in"})
      network.set_part(place, std::make_shared<SelectChannels>(64));
    const CutGroups groups(network, grouped);
    Cut cut = groups.nothing();
    int64_t removed = 0;
    for (size_t g = 0; g < groups.groups().size(); ++g) {
      const int64_t goes = groups.groups()[g].size() / 3;
      for (int64_t c = 0; c < goes; ++c) cut[g].push_back(c * 2);
      removed += goes;
    }
    widen(network);
    const Tensor images = Random(2, "", "x").normal({3, 1, 28, 28}, {}, 0, DType::f64);
    mask(network, groups, cut);
    mask_layer_norms(network, groups, cut, "test");
    const Tensor masked = logits_of(network, images);
    network.hooks().remove_owner("test");
    network.cut(groups.plan(cut));
    CHECK(removed > 100);
    CHECK(network.parameter("blocks.0.attn.qkv.weight").value().dim(1) == 43);
    CHECK(network.parameter("blocks.0.attn.qkv.in.index").value().dim(0) == 43);
    CHECK(relative_difference(masked, logits_of(network, images)) < 1e-12);
  }
}

TEST_CASE("vtp: heads may keep other channels each, as many as the others, exactly") {
  Network network({.model = "vit_nano_patch4_28", .options = {}, .parts = {}});
  network.initialise(1);
  // 4 heads of 16 channels: head h numbers its channels from h on.
  std::vector<int64_t> order;
  for (int64_t h = 0; h < 4; ++h) {
    for (int64_t k = 0; k < 16; ++k) order.push_back((h + k) % 16);
  }
  CHECK_THROWS_WITH_AS(CutGroups(network, GroupedCut::kAligned, {{"blocks.1.attn", {0, 1}}}),
                       "cut: blocks.1.attn: expected an order of 64 channels, got 2", Error);
  const CutGroups groups(network, GroupedCut::kAligned, {{"blocks.1.attn", order}});
  Cut cut = groups.nothing();
  for (size_t g = 0; g < groups.groups().size(); ++g) {
    const auto& places = groups.groups()[g].places;
    const bool is_ours = std::any_of(places.begin(), places.end(), [](const CutGroup::Place& p) {
      return p.parameter == "blocks.1.attn.proj.weight" && p.axis == 1;
    });
    if (is_ours) cut[g] = {0, 1, 2};  // the channels numbered by head 0's: its first three
  }
  widen(network);
  const Tensor images = Random(2, "", "x").normal({3, 1, 28, 28}, {}, 0, DType::f64);
  const std::vector<double> columns =
      network.parameter("blocks.1.attn.proj.weight").value().slice(0, 0, 1).to_vector();
  mask(network, groups, cut);
  const Tensor masked = logits_of(network, images);
  network.cut(groups.plan(cut));
  std::vector<double> kept;
  for (size_t h = 0; h < 4; ++h) {
    for (size_t c = 0; c < 16; ++c) {
      const bool goes = c >= h && c < h + 3;
      if (!goes) kept.push_back(columns[h * 16 + c]);
    }
  }
  CHECK(network.parameter("blocks.1.attn.proj.weight").value().slice(0, 0, 1).to_vector() == kept);
  CHECK(relative_difference(masked, logits_of(network, images)) < 1e-12);
}

TEST_CASE("vtp: fold moves scores into the weights, else they are dropped") {
  const auto difference = [](const std::string& knobs, bool to_dense) {
    ChosenPhase phase("prune_rate: 0, " + knobs);
    const Tensor images = phase.images(4), scored = phase->network().logits(images),
                 dense = Network::load(phase.folder() / "dense.safetensors")->logits(images);
    CHECK(relative_difference(scored, dense) > 1e-2);
    phase->finish();
    return relative_difference(to_dense ? dense : scored, phase->network().logits(images));
  };
  CHECK(difference("fold: true", /*to_dense=*/false) < 1e-5);
  CHECK(difference("fold: false", /*to_dense=*/true) == 0);
}

TEST_CASE("vtp: lambda pulls scores towards 0, by the gradient's sign or a shrinking step") {
  const auto after_one_step = [](const std::string& knobs) {
    TestPhase phase = vtp(knobs, {"optim.lr=0.05"});
    Parameter score = helper(phase, "score.blocks.3.mlp.fc1");
    std::vector<double> values(96, 1);
    values[0] = 0.03;
    values[1] = -0.2;
    values[2] = 0.5;
    score.set(from_values({96}, values));
    phase.steps(1);
    return scores(phase, "blocks.3.mlp.fc1");
  };
  // The task's own gradient moves a score by less than 0.001 here.
  const std::vector<double> free = after_one_step("lambda: 0"),
                            prox = after_one_step("lambda: 1, l1: prox"),
                            gradient = after_one_step("lambda: 1");
  CHECK(free[2] == doctest::Approx(0.5).epsilon(0.002));
  CHECK(prox[0] == 0);
  CHECK(prox[1] == doctest::Approx(-0.15).epsilon(0.01));
  CHECK(prox[2] == doctest::Approx(0.45).epsilon(0.01));
  CHECK(gradient[0] == doctest::Approx(-0.02).epsilon(0.05));  // past 0: only prox stops there
  CHECK(gradient[1] == doctest::Approx(-0.15).epsilon(0.01));
  const auto norm = [](const std::string& knobs) {
    TestPhase phase = vtp(knobs);
    phase.steps(6);
    return phase.mean("vtp.l1");
  };
  CHECK(norm("lambda: 0.5") < norm("lambda: 0.1"));
  CHECK(norm("lambda: 0.1") < norm("lambda: 0"));
}

TEST_CASE("vtp: gate_init is where scores start, gate_lr_scale how fast they go") {
  const auto moved = [](const std::string& knobs) {
    TestPhase phase = vtp("gate_init: 0.5, " + knobs);
    CHECK(scores(phase, "blocks.0.attn.qkv") == std::vector<double>(96, 0.5));
    phase.steps(1);
    return 0.5 - scores(phase, "blocks.0.attn.qkv")[3];
  };
  // Plain SGD: the step is lr * gradient, in f32 near 0.5.
  CHECK(moved("lambda: 1") == doctest::Approx(0.01).epsilon(0.05));
  CHECK(moved("lambda: 1, gate_lr_scale: 4") ==
        doctest::Approx(4 * moved("lambda: 1")).epsilon(1e-3));
}

TEST_CASE("vtp: scope says among which features the least are found") {
  using Counts = std::vector<int64_t>;
  ChosenPhase layer("prune_rate: 0.25, scope: per_layer");
  Counts each;
  for (int b = 0; b < 6; ++b) each.insert(each.end(), {24, 24, 24, 96});
  CHECK(all_hidden(layer) == each);

  ChosenPhase type("prune_rate: 0.25, scope: per_type");
  const Counts by_type = all_hidden(type);
  for (size_t t = 0; t < 4; ++t) {
    int64_t sum = 0;
    for (size_t b = 0; b < 6; ++b) sum += by_type[b * 4 + t];
    CHECK(sum == 6 * each[t]);
  }
  CHECK(by_type != each);
  ChosenPhase global("prune_rate: 0.25");
  const Counts everywhere = all_hidden(global);
  CHECK(total(everywhere) == total(each));
  CHECK(everywhere != by_type);
  // The least of all: every score that stays is at least as large as every one that goes, but for
  // heads, of which whole ranks go.
  double largest_gone = 0, least_kept = 2;
  for (const char* const layer_name : {"blocks.0.mlp.fc2", "blocks.5.attn.qkv"}) {
    const std::vector<double> a = scores(global, layer_name),
                              m = helper(global, str("mask.", layer_name)).value().to_vector();
    for (size_t i = 0; i < a.size(); ++i) {
      if (m[i] == 0) largest_gone = std::max(largest_gone, std::abs(a[i]));
      if (m[i] != 0) least_kept = std::min(least_kept, std::abs(a[i]));
    }
  }
  CHECK(largest_gone <= least_kept);
}

TEST_CASE("vtp: pick takes other features: of the smallest columns, or as many at random") {
  const std::string layer_name = "blocks.1.mlp.fc2",
                    where = "where: [blocks.1], gates: [mlp_hidden]";
  const auto hidden_of = [&](const std::string& knobs) {
    ChosenPhase phase(str("prune_rate: 0.25, ", where, knobs));
    return helper(phase, str("mask.", layer_name)).value().to_vector();
  };
  const std::vector<double> scored = hidden_of(""), random = hidden_of(", pick: random"),
                            by_norm = hidden_of(", pick: norm");
  CHECK(zeros_in(random) == zeros_in(scored));
  CHECK(random != scored);
  CHECK(random != by_norm);
  // By hand: the 96 of 384 columns of fc2 of least norm.
  ChosenPhase phase(str("prune_rate: 0.25, ", where, ", pick: norm"));
  const std::vector<double> w =
      phase->network().parameter(layer_name + ".weight").value().to_vector();  // (96, 384)
  double largest_gone = 0, least_kept = 1e9;
  for (size_t j = 0; j < 384; ++j) {
    double squares = 0;
    for (size_t i = 0; i < 96; ++i) squares += w[i * 384 + j] * w[i * 384 + j];
    double& bound = by_norm[j] == 0 ? largest_gone : least_kept;
    bound = by_norm[j] == 0 ? std::max(bound, squares) : std::min(bound, squares);
  }
  CHECK(zeros_in(by_norm) == 96);
  CHECK(largest_gone <= least_kept);
}

TEST_CASE("vtp: of equal scores exactly the asked number goes, the first ones") {
  TestPhase phase = vtp("prune_rate: 0.4", kStandStill);
  phase->start();
  finish_epoch(phase);
  const std::vector<int64_t> gone = all_hidden(phase);
  CHECK(total(gone) == 1612);  // int(0.4 4032)
  CHECK(gone[0] == 95);        // one of each layer stays
  CHECK(gone[1] == 92);        // and of each head
  CHECK(gone[23] == 0);
}

TEST_CASE("vtp: target_macs is met, and by no more than the last features") {
  for (const char* const scope : {"global", "per_layer"}) {
    ChosenPhase phase(str("target_macs: 0.6, scope: ", scope));
    const auto macs = static_cast<double>(Graph(phase->network()).macs());
    phase->finish();
    const double share = static_cast<double>(Graph(phase->network()).macs()) / macs;
    CHECK(share <= 0.6);
    CHECK(share > 0.595);
  }
}

TEST_CASE("vtp: gates and where name what may go, min_keep and round_to what stays") {
  ChosenPhase some("gates: [mlp_hidden, qkv_in], where: [blocks.1, blocks.4], prune_rate: 0.5");
  some->finish();
  for (const int b : {0, 1, 2, 4}) {
    CAPTURE(b);
    const bool is_ours = b == 1 || b == 4;
    const std::string block = str("blocks.", b, ".");
    CHECK((shape_of(some, block + "mlp.fc2.weight")[1] < 384) == is_ours);
    CHECK((shape_of(some, block + "attn.qkv.weight")[1] < 96) == is_ours);
    CHECK(shape_of(some, block + "attn.proj.weight") == Shape{96, 96});
    CHECK(shape_of(some, block + "mlp.fc1.weight")[1] == 96);
  }
  ChosenPhase few("prune_rate: 0.9999, min_keep: 2");
  few->finish();
  CHECK(shape_of(few, "blocks.3.attn.qkv.weight") == Shape{192 + 8, 2});  // 2 of each of 4 heads
  CHECK(shape_of(few, "blocks.3.mlp.fc1.weight") == Shape{2, 2});
  ChosenPhase round("prune_rate: 0.5, round_to: 8");
  round->finish();
  for (int b = 0; b < 6; ++b) {
    for (const char* const layer : kLayers)
      CHECK(shape_of(round, str("blocks.", b, ".", layer, ".weight"))[1] % 8 == 0);
  }
}

TEST_CASE("vtp: sparse_epochs end the penalty; then scores stand still and what goes is at 0") {
  TestPhase phase =
      vtp("lambda: 0.5, sparse_epochs: 2, prune_rate: 0.5", {"phases.sparse.train.epochs=3"});
  phase->start();
  finish_epoch(phase);
  CHECK(total(all_hidden(phase)) == 0);
  finish_epoch(phase);
  CHECK(total(all_hidden(phase)) == 2016);
  const std::vector<double> still = scores(phase, "blocks.2.mlp.fc2"),
                            weights = values_of(phase, "blocks.2.mlp.fc1.weight");
  finish_epoch(phase);
  CHECK(scores(phase, "blocks.2.mlp.fc2") == still);
  CHECK(values_of(phase, "blocks.2.mlp.fc1.weight") != weights);
}

TEST_CASE("vtp: beside a quantizer without a code for 0 the cut network is still the masked one") {
  TestPhase phase(
      "{vtp: {lambda: 0.5, prune_rate: 0.5, scope: per_layer, sparse_epochs: 1}, dorefa: "
      "{weight_bits: 4, activation_bits: 8}}");
  phase->start();
  finish_epoch(phase);
  phase->finish();
  CHECK(shape_of(phase, "blocks.0.mlp.fc1.weight") == Shape{192, 48});
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("vtp: a moving average is cut and folded as one network") {
  TestPhase phase = vtp("lambda: 0.5, prune_rate: 0.5", {"phases.sparse.ema.decay=0.9"});
  phase->start();
  finish_epoch(phase);
  phase.steps(2);
  const std::vector<int64_t> gone = all_hidden(phase);
  phase->finish();
  CHECK(shape_of(phase, "blocks.0.mlp.fc2.weight")[1] == 384 - gone[3]);
  CHECK(phase->state().masked_compact_max_rel < 1e-5);
}

TEST_CASE("vtp: the loss falls while scores become sparse") {
  TestPhase phase = vtp(
      "lambda: 0.5, l1: prox, gate_lr_scale: 20, sparse_epochs: 3, prune_rate: 0.3",
      {"optim.name=adamw", "~optim.momentum", "optim.lr=0.001", "phases.sparse.train.epochs=6"});
  phase->start();
  phase.steps(1);
  const double loss = phase.mean("loss"), norm = phase.mean("vtp.l1");
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
    if (epoch == 2) CHECK(phase.mean("vtp.l1") < 0.9 * norm);
  }
  CHECK(phase.mean("loss") < 0.8 * loss);
}

TEST_CASE("vtp: composes: a teacher beside it, token methods behind it, and itself again") {
  TestPhase first("{vtp: {prune_rate: 0.4}, kd: {teacher: dense}}");
  first->start();
  finish_epoch(first);
  CHECK(first.mean("kd.soft") > 0);
  first->finish();
  const std::string file = first.folder() / "small.safetensors";
  first->network().save(file);
  const std::vector<std::string> from = {"~phases.sparse.from", "+model.weights=" + file};
  const Tensor images = first.images(6);
  for (const char* const next :
       {"{dynamicvit: {at: [2, 4], keep_ratio: 0.7, teacher: self, freeze_epochs: 0}, kd: "
        "{teacher: "
        "self}}",
        "{tome: {r: 5}, kd: {teacher: self}}", "{vtp: {prune_rate: 0.3}}"}) {
    CAPTURE(next);
    TestPhase phase(next, from);
    phase->start();
    finish_epoch(phase);
    const Tensor before = phase->network().logits(images);
    phase->finish();
    CHECK(phase->state().masked_compact_max_rel < 1e-5);
    CHECK(relative_difference(before, phase->network().logits(images)) < 1e-5);
    CHECK(phase->network().parameter("blocks.0.attn.qkv.weight").value().dim(1) < 96);
    CHECK(Graph(phase->network()).macs() < Graph(first->network()).macs());
    Plan plan(phase->network());
    CHECK(compare(plan, phase->network(), images, 1e-4).logits < 1e-4);
  }
}

TEST_CASE("vtp: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/deit_vtp.yaml", {"model.name=deit_micro_patch4_28"}, {6, 14});
}

TEST_CASE("vtp: another device gives the bits of the CPU") {
  std::map<std::string, std::vector<double>> here;
  for (const Device device : {Device{}, fake_device()}) {
    TestPhase phase = vtp("lambda: 0.5, l1: prox, prune_rate: 0.5", {"+device=" + device.text()});
    phase->start();
    finish_epoch(phase);
    phase.steps(1);
    phase->finish();
    CHECK(phase->network().device() == device);
    if (device == Device{}) {
      here = values_of(phase);
    } else {
      CHECK(values_of(phase) == here);
    }
  }
}

TEST_CASE("vtp: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(pruning_phase("{vtp: {}}", {}, "resnet8_28"),
                       doctest::Contains("vtp: expected a vision transformer, got resnet8_28"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(vtp("where: [blocks.9]"), doctest::Contains("blocks.9"), RecipeError);
  CHECK_THROWS_WITH_AS(vtp("prune_rate: 1"),
                       doctest::Contains("prune_rate: expected below 1, which would leave nothing"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(vtp("target_macs: 0"), doctest::Contains("target_macs"), RecipeError);
  CHECK_THROWS_WITH_AS(vtp("target_macs: 0.5, prune_rate: 0.2"),
                       doctest::Contains("prune_rate: has no effect beside target_macs"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(vtp("target_macs: 0.5, scope: per_type"),
                       doctest::Contains("per_type goes by prune_rate"), RecipeError);
  CHECK_THROWS_WITH_AS(vtp("gates: [heads]"),
                       doctest::Contains("expected some of qkv_in, head_out, mlp_in, mlp_hidden"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(vtp("sparse_epochs: 5"),
                       doctest::Contains("sparse_epochs: expected at most the 2 epochs"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(ChosenPhase("target_macs: 0.001"),
                       doctest::Contains("is the least that can be reached"), Error);
}

}  // namespace
}  // namespace vtrain
