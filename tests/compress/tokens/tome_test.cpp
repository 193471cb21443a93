// Token merging, arXiv:2210.09461: identities of the paper, its published sizes, and one test per
// knob.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/compare.h"
#include "compress/edit.h"
#include "nn/graph.h"
#include "nn/module_registry.h"
#include "tests/composition.h"
#include "tests/fake_device.h"
#include "tests/process.h"
#include "tests/pruning.h"

namespace vtrain {
namespace {

const TinyKnobs tiny_knobs("tome", std::nullopt, "{r: 3}");

TestPhase tome(const std::string& knobs, std::vector<std::string> overrides = {}) {
  return TestPhase("{tome: {" + knobs + "}}", std::move(overrides));
}

std::unique_ptr<Network> dense_network(const TestPhase& phase) {
  return Network::load(phase.folder() / "dense.safetensors");
}

bool are_same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.to_vector() == b.to_vector();
}

/// Tokens that the MLPs of blocks 0..5 see.
std::vector<int64_t> lengths_behind(Network& network, const Tensor& images) {
  std::vector<int64_t> seen(6);
  for (int64_t i = 0; i < 6; ++i) {
    network.hooks().transform_value(
        str("blocks.", i, ".norm2.in"),
        {Slot::kCompute, "test", [&seen, i](const Variable& x, const Pass&) {
           seen[static_cast<size_t>(i)] = x.dim(1);
           return x;
         }});
  }
  network.logits(images);
  network.hooks().remove_owner("test");
  return seen;
}

TEST_CASE("tome: r 0 gives the dense network's logits bit for bit") {
  TestPhase phase = tome("r: 0");
  const Tensor images = phase.images(8), dense = dense_network(phase)->logits(images);
  CHECK(are_same_bits(phase->network().logits(images), dense));
  phase->finish();
  CHECK(are_same_bits(phase->network().logits(images), dense));
  CHECK(phase->network().architecture().parts.empty());
}

/// Patches of three kinds and no positions: tokens of a kind are equal in every block.
Tensor three_kinds(Network& network) {
  Tensor positions = network.parameter("pos_embed").value();
  positions.slice(1, 1, positions.dim(1)).fill(0);
  Tensor image = full({1, 1, 28, 28}, 0.7);
  image.slice(2, 0, 14).fill(-1.2);  // a patch is four pixels high: the fourth row is half and half
  return image.channels_last();
}

// Section 3 of the paper: with sizes a merged token counts as the tokens it stands for, so merging
// equal ones is exact.
TEST_CASE("tome: merging equal tokens changes nothing, thanks to the sizes in attention") {
  const auto difference = [](const std::string& knobs) {
    TestPhase phase = tome(knobs);
    const auto dense = dense_network(phase);
    const Tensor image = three_kinds(*dense);
    three_kinds(phase->network());
    return relative_difference(dense->logits(image), phase->network().logits(image));
  };
  CHECK(difference("r: 5") < 1e-5);  // six blocks of f32, 2e-6 each
  CHECK(difference("r: 5, prop_attn: false") > 1e-3);
}

TEST_CASE("tome: what was trained is what finish leaves, and a file of it needs no method") {
  TestPhase phase = tome("r: 6");
  phase.steps(3);
  const Tensor images = phase.images(8), before = phase->network().logits(images);
  phase->finish();
  CHECK(phase->state().masked_compact_max_rel == 0);
  CHECK(phase->network().hooks().empty());
  CHECK(are_same_bits(phase->network().logits(images), before));
  phase->network().save(phase.folder() / "merged.safetensors");
  const auto loaded = Network::load(phase.folder() / "merged.safetensors");
  CHECK(are_same_bits(loaded->logits(images), before));
  CHECK(loaded->parameter_count() == dense_network(phase)->parameter_count());
  // One image is merged as it is in a batch; only sums in matrix products may run otherwise.
  CHECK(relative_difference(before.slice(0, 3, 4), loaded->logits(images.slice(0, 3, 4))) < 1e-5);
}

TEST_CASE(
    "tome: r, its list, inflection and match_every decide how many tokens each block leaves") {
  const Tensor images = tome("r: 1").images(2);
  const auto seen = [&](const std::string& knobs) {
    TestPhase phase = tome(knobs);
    std::vector<int64_t> hooked = lengths_behind(phase->network(), images);
    phase->finish();
    CHECK(lengths_behind(phase->network(), images) == hooked);
    return hooked;
  };
  using Lengths = std::vector<int64_t>;
  CHECK(seen("") == Lengths{42, 34, 26, 18, 10, 6});  // 8, at last clipped to half of 9
  CHECK(seen("r: 4") == Lengths{46, 42, 38, 34, 30, 26});
  CHECK(seen("r: [9, 0, 3]") == Lengths{41, 41, 38, 38, 38, 38});
  CHECK(seen("r: [24, 24]") == Lengths{26, 14, 14, 14, 14, 14});  // half of 25 at most
  CHECK(seen("r: 4, match_every: 2") == Lengths{46, 46, 42, 42, 38, 38});
  // int(8 - 1.6 i): 8 6 4 3 1 0, which truncation makes 22 and not 24.
  CHECK(seen("r: 4, inflection: -1") == Lengths{42, 36, 32, 29, 28, 28});
  CHECK(seen("r: 4, inflection: 1") == Lengths{50, 49, 46, 42, 36, 28});
  CHECK(seen("r: 6, inflection: -0.5, match_every: 3") == Lengths{41, 41, 41, 38, 38, 38});
}

// Behind eight columns that say what is alike, every token carries a column of its own: what it is
// made of can be read from those that are not 0.
TEST_CASE("tome: the source map says which patches a token is the mean of") {
  const int64_t samples = 3, length = 12, alike = 8;
  Tokens t;
  t.num_special = 1;
  t.x = Variable(zeros({samples, length, alike + length}));
  Tensor noise = t.x.value().slice(2, 0, alike), own = t.x.value().slice(2, alike, alike + length);
  noise.copy_from(Random(5, "", "tokens").normal({samples, length, alike}, {}));
  for (int64_t i = 0; i < length; ++i) own.slice(1, i, i + 1).slice(2, i, i + 1).fill(0.01);
  t.dest = own_rows(t);
  int64_t left = length;
  for (const int64_t r : {3, 2, 2}) {
    const auto merge = make_module("tome_merge", {{"r", static_cast<double>(r)},
                                                  {"block", 0},
                                                  {"metric", 3},  // the values themselves
                                                  {"prop_attn", 1}});
    t = (*merge)(t, Pass{});
    left -= r;
    REQUIRE(t.length() == left);
    const std::vector<double> dest = t.dest.to_vector(), sizes = t.sizes.value().to_vector(),
                              made_of = t.x.value().slice(2, alike, alike + length).to_vector();
    std::vector<double> patches(sizes.size());
    for (int64_t n = 0; n < samples; ++n) {
      for (int64_t p = 0; p + 1 < length; ++p) {
        const auto row = static_cast<int64_t>(dest[static_cast<size_t>(n * (length - 1) + p)]);
        for (int64_t j = 0; j < left; ++j)
          CHECK((made_of[static_cast<size_t>((n * left + j) * length + 1 + p)] != 0) == (j == row));
        ++patches[static_cast<size_t>(n * left + row)];
      }
      ++patches[static_cast<size_t>(n * left)];  // the class token
    }
    CHECK(patches == sizes);
  }
}

/// deit_tiny_patch16_224 with a merge of r in every block.
Graph published(int64_t r) {
  Network network({.model = "deit_tiny_patch16_224",
                   .options = {.num_classes = 1000, .channels = 3, .image_size = 224},
                   .parts = {}});
  network.initialise(1);
  for (int i = 0; i < 12; ++i) {
    network.set_part(
        str("blocks.", i, ".after_attention.in"),
        make_module(
            "tome_merge",
            {{"r", static_cast<double>(r)}, {"block", i}, {"metric", 0}, {"prop_attn", 1}}));
  }
  return Graph(network);
}

// Card of the method: DeiT-Ti at r = 8, 13, 16 leaves 101, 41, 11 tokens and costs 0.924, 0.731,
// 0.622 GMACs besides the matching.
TEST_CASE("tome: tokens of which only a part travels are refused, the block named") {
  TestPhase phase = tome("r: 3");
  phase->network().hooks().wrap_tokens(
      "blocks.0",
      {Slot::kCompute, "part", [](const Tokens& t, const InnerTokens& inner, const Pass&) {
         const int64_t samples = t.x.dim(0);
         std::vector<double> rows;
         for (int64_t n = 0; n < samples; ++n) {
           for (const int64_t row : {0, 1, 2, 3, 5}) rows.push_back(static_cast<double>(row));
         }
         return put_back(inner(split(t, from_values({samples, 5}, rows, DType::i32))));
       }});
  CHECK_THROWS_WITH_AS(phase->network().logits(phase.images(2)),
                       "blocks.0.after_attention: tome cannot merge tokens of which another method "
                       "lets only a part travel; expected it in a phase of its own",
                       Error);
}

TEST_CASE("tome: DeiT-Ti has the published numbers of tokens and multiplications") {
  for (const auto& [r, left, gmacs] : std::vector<std::tuple<int64_t, int64_t, double>>{
           {8, 101, 0.924}, {13, 41, 0.731}, {16, 11, 0.622}}) {
    CAPTURE(r);
    const Graph graph = published(r);
    int64_t matching = 0, last = 0, expected = 0, length = 197;
    for (const Graph::Node& node : graph.nodes()) {
      if (node.op.name == "match_tokens") matching += node.op.macs;
      if (node.op.name == "merge_rows") last = graph.value(node.output).shape[1];
    }
    for (int i = 0; i < 12; ++i) {
      expected += (length + 1) / 2 * (length / 2) * 64;
      length -= std::min<int64_t>(r, (length - 1) / 2);
    }
    CHECK(last == left);
    CHECK(matching == expected);
    CHECK(static_cast<double>(graph.macs() - matching) / 1e9 ==
          doctest::Approx(gmacs).epsilon(0.0006 / gmacs));
  }
}

TEST_CASE("tome: each metric pairs other tokens, and random pairs are the same every time") {
  std::vector<Tensor> all;
  for (const char* const knobs :
       {"metric: key", "metric: query", "metric: value", "metric: x", "scorer: random"}) {
    TestPhase phase = tome(str("r: 6, ", knobs));
    const Tensor images = phase.images(4), logits = phase->network().logits(images);
    for (const Tensor& other : all) CHECK(relative_difference(logits, other) > 1e-4);
    all.push_back(logits);
    CHECK(are_same_bits(phase->network().logits(images), logits));
    phase->finish();
    CHECK(are_same_bits(phase->network().logits(images), logits));
  }
}

TEST_CASE("tome: similar tokens are merged with less damage than random ones") {
  const auto damage = [](const std::string& scorer) {
    TestPhase phase = tome("r: 6, scorer: " + scorer);
    const Tensor images = phase.images(32);
    return relative_difference(dense_network(phase)->logits(images),
                               phase->network().logits(images));
  };
  CHECK(damage("similarity") < damage("random"));
}

TEST_CASE("tome: the gradient reaches what is in front of the merges, and the loss falls") {
  TestPhase phase = tome("r: 6", {"optim.name=adamw", "~optim.momentum", "optim.lr=0.001",
                                  "phases.sparse.train.epochs=6"});
  const std::vector<double> before = values_of(phase, "patch_embed.proj.weight");
  phase.steps(1);
  const double first = phase.mean("loss");
  CHECK(values_of(phase, "patch_embed.proj.weight") != before);
  for (int epoch = 0; epoch < 6; ++epoch) {
    phase->means.clear();
    finish_epoch(phase);
  }
  CHECK(phase.mean("loss") < 0.8 * first);
}

TEST_CASE("tome: a phase in bf16 keeps sizes in f32 and comes near an f32 phase") {
  TestPhase full = tome("r: 6"), half = tome("r: 6");
  half->dtype = DType::bf16;
  full.steps(3);
  half.steps(3);
  CHECK(half.mean("loss") == doctest::Approx(full.mean("loss")).epsilon(0.05));
  CHECK(half.mean("loss") != full.mean("loss"));
}

TEST_CASE("tome: the deployed plan computes what the network does") {
  TestPhase phase = tome("r: 6");
  phase.steps(2);
  phase->finish();
  Plan plan(phase->network());
  const Tensor images = phase.images(12);
  CHECK(compare(plan, phase->network(), images, 1e-4).logits < 1e-4);
}

TEST_CASE("tome: works with a teacher, and behind a phase that drops tokens") {
  TestPhase taught("{tome: {r: 4}, kd: {teacher: dense}}");
  taught.steps(2);
  CHECK(taught.mean("kd.soft") > 0);

  const std::string dropping =
      "{dynamicvit: {at: [2, 4], counts: [20, 9], teacher: dense, freeze_epochs: 0}}";
  TestPhase dropped(dropping);
  dropped->finish();
  dropped->network().save(dropped.folder() / "dense.safetensors");
  // The next phase starts from what the first left.
  const std::string from = "model.weights=" + (dropped.folder() / "dense.safetensors");
  TestPhase phase("{tome: {r: [5, 0, 3, 0, 2]}}", {"~phases.sparse.from", "+" + from});
  const Tensor images = phase.images(2);
  CHECK(lengths_behind(phase->network(), images) == std::vector<int64_t>{45, 45, 18, 18, 8, 8});
  CHECK_THROWS_WITH_AS(
      TestPhase("{tome: {r: 16}}", {"~phases.sparse.from", "+" + from}),
      doctest::Contains("block 2 keeps 20 patch tokens, and only 17 are left in front of it"),
      RecipeError);
}

TEST_CASE("tome: in a phase of 0 epochs it merges in the trained network as it is") {
  const TemporaryFolder folder;
  const ProcessResult run =
      run_vtrain({std::string(VTRAIN_SOURCE_DIR) + "/recipes/deit_tome.yaml",
                  "model.name=deit_micro_patch4_28", "data.name=synthetic", "data.limit=64",
                  "data.batch_size=16", "phases.dense.train.epochs=1",
                  "phases.merged.train.epochs=0", "phases.merged.sched.warmup_epochs=0",
                  "threads=2", "--quiet", "out.dir=" + (folder / "runs")});
  REQUIRE_MESSAGE(run.exit_code == 0, run.errors);
  const std::filesystem::path last = only_run(folder / "runs");
  const auto dense = Network::load((last / "dense.safetensors").string()),
             small = Network::load((last / "merged.safetensors").string());
  CHECK(small->architecture().parts.size() == 6);
  for (const Parameter& p : dense->parameters())
    CHECK(are_same_bits(small->parameter(p.path()).value(), p.value()));
}

TEST_CASE("tome: a run that is killed ends in the same bytes") {
  check_killed_is_whole("recipes/deit_tome.yaml", {"model.name=deit_micro_patch4_28"}, {6, 12},
                        "merged");
}

TEST_CASE("tome: another device gives the bits of the CPU") {
  std::map<std::string, std::vector<double>> here;
  for (const Device device : {Device{}, fake_device()}) {
    TestPhase phase = tome("r: 6", {"+device=" + device.text()});
    phase.steps(3);
    phase->finish();
    CHECK(phase->network().device() == device);
    const Tensor logits = phase->network().logits(phase.images(4).to(device));
    std::map<std::string, std::vector<double>> values = values_of(phase);
    values["logits"] = logits.to_vector();
    if (device == Device{}) {
      here = values;
    } else {
      CHECK(values == here);
    }
  }
}

TEST_CASE("tome: misuse is refused before the first batch, with the place") {
  CHECK_THROWS_WITH_AS(pruning_phase("{tome: {r: 2}}", {}, "resnet8_28"),
                       doctest::Contains("tome: expected a vision transformer, got resnet8_28"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(
      tome("r: 49"), doctest::Contains("r: 49 would leave no token of 49 in block 0"), RecipeError);
  CHECK_THROWS_WITH_AS(tome("r: [20, 14, 15, 1]"),
                       doctest::Contains("r: 15 would leave no token of 15 in block 2"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(tome("r: [1, 1, 1, 1, 1, 1, 1]"),
                       doctest::Contains("r: expected at most 6 numbers, one per block, got 7"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(tome("r: -1"), doctest::Contains("tome.r"), RecipeError);
  CHECK_THROWS_WITH_AS(tome("inflection: 1.5"), doctest::Contains("in [-1, 1]"), RecipeError);
  CHECK_THROWS_WITH_AS(tome("r: [2, 1], inflection: 0.5"),
                       doctest::Contains("inflection: has no effect beside a list of r"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(tome("r: [2, 1], match_every: 2"),
                       doctest::Contains("match_every: has no effect beside a list of r"),
                       RecipeError);
  CHECK_THROWS_WITH_AS(tome("metric: x, scorer: random"),
                       doctest::Contains("metric: has no effect with scorer random"), RecipeError);
  // Tokens that another method hides cannot be merged.
  CHECK_THROWS_WITH_AS(TestPhase("{tome: {r: 2}, dynamicvit: {at: [3], teacher: dense}}"),
                       doctest::Contains("dynamicvit"), Error);
}

}  // namespace
}  // namespace vtrain
