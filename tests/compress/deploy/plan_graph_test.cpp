#include "compress/deploy/plan_graph.h"

#include <doctest/doctest.h>

#include "compress/deploy/compare.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

Network vit_of(const std::string& model) {
  Network network({.model = model,
                   .options = {.num_classes = 10, .channels = 3, .image_size = 32},
                   .parts = {}});
  network.initialise(1);
  return network;
}

/// The shape of what the first op of that name in a module makes for one image.
Shape shape_of(const PlanGraph& graph, const std::string& module, const std::string& op) {
  for (const Graph::Node& node : graph.nodes) {
    if (Graph::module_of(node) == module && node.op.name == op)
      return graph.value(node.output).shape;
  }
  return {};
}

TEST_CASE("plan graph: behind the last attention only the class token's row is computed") {
  Network network = vit_of("deit_tiny_patch16_224");
  PlanGraph graph{Graph(network)};
  CHECK(shape_of(graph, "blocks.11.mlp.fc1", "linear") == Shape{1, 5, 768});
  narrow(graph);
  CHECK(shape_of(graph, "blocks.11.attn", "attention") == Shape{1, 5, 192});
  CHECK(shape_of(graph, "blocks.11.attn.proj", "linear") == Shape{1, 1, 192});
  CHECK(shape_of(graph, "blocks.11.mlp.fc1", "linear") == Shape{1, 1, 768});
  CHECK(shape_of(graph, "norm", "layer_norm") == Shape{1, 1, 192});
  CHECK(shape_of(graph, "blocks.10.mlp.fc1", "linear") == Shape{1, 5, 768});  // all are keys
}

TEST_CASE("plan graph: of a distilled transformer two rows are read") {
  Network network = vit_of("deit_tiny_distilled_patch16_224");
  PlanGraph graph{Graph(network)};
  narrow(graph);
  CHECK(shape_of(graph, "blocks.11.mlp.fc2", "linear") == Shape{1, 2, 192});
  CHECK(shape_of(graph, "blocks.10.mlp.fc2", "linear") == Shape{1, 6, 192});
}

// One image of 2 x 2 patches of 1 x 2 pixels would not show an order: patches of 16 x 16 x 3 do.
TEST_CASE("plan graph: turned patches and turned weights have the products of before") {
  Network network = vit_of("deit_tiny_patch16_224");
  PlanGraph graph{Graph(network)};
  const auto weight = [&] {
    for (const Graph::Node& node : graph.nodes) {
      if (Graph::module_of(node) == "patch_embed.proj" && node.op.name == "linear")
        return graph.value(node.inputs[1]).constant;
    }
    return Tensor();
  };
  const Tensor before = weight();
  turn_patches(graph);
  const Tensor after = weight();
  REQUIRE(after.shape() == before.shape());
  const auto at = [](const Tensor& t, int64_t row, int64_t column) {
    return t.select(0, row).slice(0, column, column + 1).item();
  };
  for (const int64_t c : {0, 2}) {
    for (const int64_t y : {0, 7, 15}) {
      for (const int64_t x : {0, 3, 15})
        CHECK(at(after, 5, (y * 16 + x) * 3 + c) == at(before, 5, (c * 16 + y) * 16 + x));
    }
  }
  CHECK(shape_of(graph, "patch_embed.proj", "patchify").empty());
}

TEST_CASE("plan graph: heads that nobody asks for are not computed") {
  Network network = vit_of("deit_tiny_patch16_224");
  const Graph graph(network);
  const PlanGraph plan(graph);
  CHECK(plan.nodes.size() < graph.nodes().size());  // reshaped weights are constant
  for (const Graph::Node& node : plan.nodes) CHECK(!graph.is_constant(node.output));
}

}  // namespace
}  // namespace vtrain
