#include "nn/graph.h"

#include <doctest/doctest.h>

#include <cmath>

#include "nn/layers/block.h"

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

}  // namespace
}  // namespace vtrain
