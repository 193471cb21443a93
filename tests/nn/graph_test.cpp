#include "nn/graph.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "nn/layers/block.h"
#include "nn/module_registry.h"

namespace vtrain {
namespace {

Network deit(const std::string& size) {
  return Network({.model = "deit_" + size + "_patch16_224",
                  .options = {.num_classes = 1000, .channels = 3, .image_size = 224},
                  .parts = {}});
}
double giga_macs(const Graph& graph) {
  return std::round(static_cast<double>(graph.macs()) / 1e5) / 1e4;
}

// Touvron et al. (DeiT), arXiv:2012.12877, count 1.3 and 4.6 G; the digits are those of fvcore.
TEST_CASE("graph: multiply-adds of DeiT-Ti and DeiT-S are the published ones") {
  Network tiny = deit("tiny"), small = deit("small");
  CHECK(giga_macs(Graph(tiny)) == 1.2537);
  CHECK(giga_macs(Graph(small)) == 4.5989);
}

TEST_CASE("graph: multiply-adds of a module are those of all below its path, and of no namesake") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  const Graph graph(network);
  // L = 50 tokens, 49 patches, width 96, hidden 384, 1 channel, 10 classes.
  CHECK(graph.macs("patch_embed") == 49 * 16 * 96);
  CHECK(graph.macs("head") == 96 * 10);
  CHECK(graph.macs("blocks.0.attn.qkv") == 50 * 96 * 3 * 96);
  CHECK(graph.macs("blocks.0.attn") == 50 * 96 * 4 * 96 + 2 * 50 * 50 * 96);
  CHECK(graph.macs("blocks.0.mlp") == 2 * 50 * 96 * 384);
  CHECK(graph.macs("blocks.0") == graph.macs("blocks.0.attn") + graph.macs("blocks.0.mlp"));
  CHECK(graph.macs("norm") == 0);
  CHECK(graph.macs("blocks.0.att") == 0);
  CHECK(graph.macs() ==
        graph.macs("patch_embed") + graph.macs("head") + 6 * graph.macs("blocks.3"));
  CHECK(graph.params() == network.parameter_count());
}

TEST_CASE("graph: it describes the network without its hooks") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.hooks().wrap_tokens(
      "blocks.0", {.slot = Slot::kStructure,
                   .owner = "test",
                   .apply = [](const Tokens& t, const InnerTokens&, const Pass&) { return t; }});
  CHECK(Graph(network).macs("blocks.0") > 0);
}

TEST_CASE("graph: parameters carry their paths") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  const Graph graph(network);
  for (const Parameter& p : network.parameters()) {
    CAPTURE(p.path());
    int found = 0;
    for (const Trace::Value& value : graph.values()) found += value.parameter == p.path();
    CHECK(found == 1);
  }
}

TEST_CASE("graph: shapes for a batch, constants and readers are those of the network") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.initialise(1);
  const Graph graph(network);
  REQUIRE(graph.images() >= 0);
  CHECK(graph.shape(graph.images(), 7) == Shape{7, 1, 28, 28});
  CHECK(graph.shape(graph.logits(), 7) == Shape{7, 10});
  CHECK(graph.heads().empty());
  CHECK(graph.readers(graph.logits()).empty());
  CHECK(!graph.is_constant(graph.logits()));
  for (const Graph::Node& node : graph.nodes()) {
    CAPTURE(node.scope);
    // The class token is repeated for every image: computed from a parameter, and yet not constant.
    if (node.op.name == "expand") CHECK(!graph.is_constant(node.output));
    if (node.op.name == "linear") {
      CHECK(graph.is_constant(node.inputs[1]));
      CHECK(graph.grows_with_batch(node.output, 0));
      CHECK(!graph.grows_with_batch(node.output, -1));
    }
    // The weight of the patch projection is reshaped: constant, and known without its parameter.
    if (Graph::module_of(node) == "patch_embed.proj" && node.op.name == "reshape") {
      CHECK(graph.is_constant(node.output));
      CHECK(graph.tensor(node.output).to_vector() ==
            network.parameter("patch_embed.proj.weight").value().to_vector());
    }
  }
  CHECK_THROWS_WITH_AS(attribute(graph.nodes()[0], "colour"),
                       doctest::Contains("has no attribute colour"), Error);
}

TEST_CASE("graph: batch norm names its running statistics") {
  Network network({.model = "resnet20",
                   .options = {.num_classes = 10, .channels = 3, .image_size = 32},
                   .parts = {}});
  const Graph graph(network);
  int norms = 0;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.op.name != "batch_norm") continue;
    const std::string path = Graph::module_of(node);
    REQUIRE(node.inputs.size() == 6);
    CHECK(graph.value(node.inputs[4]).parameter == path + ".running_mean");
    CHECK(graph.value(node.inputs[5]).parameter == path + ".running_var");
    ++norms;
  }
  CHECK(norms == 19);
}

/// x over the number of images.
class OverCount final : public Module {
 public:
  Variable forward(const Variable& x, const Pass&) override {
    return x * (1 / static_cast<double>(x.dim(0)));
  }
};

TEST_CASE("graph: a network whose ops depend on the number of images is refused") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.set_part("blocks.2.in", std::make_shared<OverCount>());
  CHECK_THROWS_WITH_AS(Graph{network}, doctest::Contains("multiply_scalar"), Error);
}

TEST_CASE("graph: in bf16 images come and logits leave in f32") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  const Graph graph(network, DType::bf16);
  CHECK(graph.value(graph.images()).dtype == DType::f32);
  CHECK(graph.value(graph.logits()).dtype == DType::f32);
  int products = 0;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.op.name != "linear") continue;
    CHECK(graph.value(node.inputs[0]).dtype == DType::bf16);
    ++products;
  }
  CHECK(products == 6 * 4 + 2);
}

TEST_CASE("graph: a part that keeps tokens is described with its integer ops") {
  Network network({.model = "deit_micro_patch4_28", .options = {}, .parts = {}});
  network.set_part(
      "blocks.2.in",
      make_module("dynamicvit_keep_top", {{"k", 30}, {"stage", 0}, {"dim", 96}, {"random", 0}}));
  network.initialise(1);
  const Graph graph(network);
  int selections = 0;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.op.name != "select_top") continue;
    ++selections;
    CHECK(Graph::module_of(node) == "blocks.2.in");
    CHECK(graph.value(node.output).dtype == DType::i32);
    CHECK(graph.shape(node.output, 5) == Shape{5, 30});
    CHECK(!graph.is_constant(node.output));
  }
  CHECK(selections == 1);
}

}  // namespace
}  // namespace vtrain
