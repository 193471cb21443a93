#include "compress/deploy/int8_layout.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

namespace vtrain {
namespace {

/// Large images make the same ops, only slower.
ModelOptions small_options(const std::string& model) {
  ModelOptions options = find_model(model).usual;
  options.image_size = std::min<int64_t>(options.image_size, 64);
  return options;
}

/// Layout of a model, with its ops by scope.
struct LaidOut {
  explicit LaidOut(const std::string& model, const std::vector<std::string>& skip = {})
      : network({.model = model, .options = small_options(model), .parts = {}}),
        graph(network),
        layout(int8_layout(graph, skip)) {}

  const Int8LayerNodes& layer(const std::string& path) const {
    const auto found = std::ranges::find(layout.layers, path, &Int8LayerNodes::path);
    REQUIRE(found != layout.layers.end());
    return *found;
  }
  std::string scope(int node) const {
    return node < 0 ? "" : graph.nodes()[static_cast<size_t>(node)].scope;
  }
  std::string maker(int value) const {
    return value < 0                 ? "none"
           : value == graph.images() ? "images"
                                     : scope(graph.value(value).producer);
  }
  const ScaleGroup& group(int value) const {
    const auto found = std::ranges::find_if(layout.groups, [&](const ScaleGroup& g) {
      return std::ranges::find(g.values, value) != g.values.end();
    });
    REQUIRE(found != layout.groups.end());
    return *found;
  }
  std::vector<std::string> sources(const ScaleGroup& g) const {
    std::vector<std::string> scopes;
    for (const int value : g.sources) scopes.push_back(maker(value));
    return scopes;
  }

  Network network;
  Graph graph;
  Int8Layout layout;
};

TEST_CASE("int8_layout: a CIFAR ResNet takes norms, sums and activations into its convolutions") {
  const LaidOut net("resnet20");
  CHECK(net.layout.layers.size() == 20);  // 19 convolutions and the classifier
  const Int8LayerNodes& stem = net.layer("conv1");
  CHECK(net.maker(stem.input) == "images");
  CHECK(net.scope(stem.batch_norm) == "bn1/batch_norm.0");
  CHECK(net.scope(stem.activation) == "act1/relu.0");
  CHECK(stem.add == -1);
  CHECK(net.group(stem.input).scheme == CodeScheme::kFull);

  const Int8LayerNodes& second = net.layer("layer1.1.conv2");
  CHECK(net.scope(second.add) == "layer1.1.add/add.0");
  CHECK(net.scope(second.activation) == "layer1.1.act2/relu.0");
  CHECK(net.maker(second.shortcut) == "layer1.0.act2/relu.0");
  CHECK(net.maker(second.output) == "layer1.1.act2/relu.0");
  CHECK(net.group(second.output).scheme == CodeScheme::kUnsigned);
  CHECK(net.group(second.output).values.size() == 1);
}

TEST_CASE("int8_layout: what the shortcut moves and pads keeps the scale it was rounded with") {
  const LaidOut net("resnet20");
  const Int8LayerNodes& wider = net.layer("layer2.0.conv2");
  CHECK(net.maker(wider.shortcut) == "layer2.0.shortcut/pad_channels.0");
  const ScaleGroup& group = net.group(wider.shortcut);
  CHECK(group.values.size() == 3);  // before and after subsampling, and padded
  CHECK(net.sources(group) == std::vector<std::string>{"layer1.2.act2/relu.0"});
  CHECK(group.scheme == CodeScheme::kUnsigned);
}

TEST_CASE("int8_layout: the global average has its own scale, and what it reads is codes") {
  const LaidOut net("resnet20");
  const Int8LayerNodes& head = net.layer("linear");
  CHECK(net.maker(head.input) == "pool/multiply_scalar.0");
  CHECK(net.group(head.input).values.size() == 1);
  CHECK(net.group(head.input).scheme == CodeScheme::kUnsigned);
  const Int8LayerNodes& last = net.layer("layer3.2.conv2");
  CHECK(net.sources(net.group(last.output)) == std::vector<std::string>{"layer3.2.act2/relu.0"});
  for (const ScaleGroup& group : net.layout.groups)
    CHECK(std::ranges::find(group.values, net.graph.logits()) == group.values.end());
}

TEST_CASE("int8_layout: of two branches the later takes the sum, the other is rounded before it") {
  const LaidOut net("resnet50");
  const Int8LayerNodes& main = net.layer("layer1.0.conv3");
  const Int8LayerNodes& side = net.layer("layer1.0.downsample.0");
  CHECK(net.scope(main.add) == "layer1.0.add/add.0");
  CHECK(main.shortcut == side.output);
  CHECK(side.add == -1);
  CHECK(net.maker(side.output) == "layer1.0.downsample.1/batch_norm.0");
  CHECK(net.group(side.output).scheme == CodeScheme::kFull);
  // Behind the stem stands a max pool: codes of the stem's scale.
  const Int8LayerNodes& first = net.layer("layer1.0.conv1");
  CHECK(net.maker(first.input) == "max_pool/max_pool2d.0");
  CHECK(net.sources(net.group(first.input)) == std::vector<std::string>{"act1/relu.0"});
}

TEST_CASE("int8_layout: MobileNetV2's bottlenecks are signed, sums without activation too") {
  const LaidOut net("mobilenet_v2");
  const Int8LayerNodes& project = net.layer("features.2.conv.2");
  CHECK(project.activation == -1);
  CHECK(net.group(project.output).scheme == CodeScheme::kFull);
  const Int8LayerNodes& summed = net.layer("features.3.conv.2");
  CHECK(summed.shortcut == project.output);
  CHECK(net.scope(summed.add) == "features.3.add/add.0");
  CHECK(net.group(summed.output).scheme == CodeScheme::kFull);
  const Int8LayerNodes& depthwise = net.layer("features.2.conv.1.0");
  CHECK(net.scope(depthwise.activation) == "features.2.conv.1.2/relu6.0");
  CHECK(net.group(depthwise.output).scheme == CodeScheme::kUnsigned);
}

TEST_CASE("int8_layout: of a transformer only the inputs of linear layers are codes") {
  const LaidOut net("deit_micro_patch4_28");
  CHECK(net.layout.layers.size() == 1 + 6 * 4 + 1);
  std::map<std::string, CodeScheme> schemes;
  for (const ScaleGroup& group : net.layout.groups) {
    REQUIRE(group.sources.size() == 1);
    schemes[net.maker(group.sources[0])] = group.scheme;
  }
  CHECK(schemes.size() == 1 + 6 * 4 + 1);
  CHECK(schemes.at("images") == CodeScheme::kFull);
  CHECK(schemes.at("blocks.0.norm1/layer_norm.0") == CodeScheme::kFull);
  CHECK(schemes.at("blocks.0.attn/attention.0") == CodeScheme::kFull);
  CHECK(schemes.at("blocks.0.norm2/layer_norm.0") == CodeScheme::kFull);
  CHECK(schemes.at("blocks.0.mlp.act/gelu.0") == CodeScheme::kAffine);
  for (const Int8LayerNodes& layer : net.layout.layers) {
    CAPTURE(layer.path);
    CHECK(layer.add == -1);
  }
}

TEST_CASE("int8_layout: skipped layers stay real, and what they alone read is not rounded") {
  const LaidOut all("resnet20"), some("resnet20", {"conv1", "linear"});
  CHECK(some.layout.layers.size() == all.layout.layers.size() - 2);
  CHECK(some.layout.groups.size() == all.layout.groups.size() - 2);  // images, global average
  CHECK(some.maker(some.layer("layer1.0.conv2").shortcut) == "act1/relu.0");
  CHECK_THROWS_WITH_AS(LaidOut("resnet20", {"fc"}), "skip: fc matches no layer", RecipeError);
}

}  // namespace
}  // namespace vtrain
