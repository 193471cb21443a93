#include "compress/parts/prunable_weights.h"

#include <doctest/doctest.h>

#include "compress/parts/sparsity_report.h"

namespace vtrain {
namespace {

std::vector<std::string> layers_of(const std::string& model, const WeightChoice& choice) {
  Network network({.model = model, .options = {}, .parts = {}});
  std::vector<std::string> layers;
  for (const PrunableWeight& w : prunable_weights(network, choice, "x.yaml:1: m"))
    layers.push_back(w.layer);
  return layers;
}

TEST_CASE("prunable weights: all but the first layer, in the order of computation") {
  CHECK(layers_of("vgg_bn_28", {}) ==
        std::vector<std::string>{"features.4", "features.8", "features.11", "classifier"});
  CHECK(layers_of("vgg_bn_28", {.has_first = true}).front() == "features.0");
}

TEST_CASE("prunable weights: globs choose, skip takes away, and each layer knows its glob") {
  CHECK(layers_of("vgg_bn_28", {.layers = {"features.*"}, .skip = {"*.8"}}) ==
        std::vector<std::string>{"features.4", "features.11"});
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  const auto weights =
      prunable_weights(network, {.layers = {"classifier", "features.1*"}}, "x.yaml:1: m");
  REQUIRE(weights.size() == 2);
  CHECK(weights[0].layer == "features.11");
  CHECK(weights[0].glob == 1);
  CHECK(weights[1].glob == 0);
}

TEST_CASE("prunable weights: depthwise convolutions stay whole") {
  for (const std::string& layer : layers_of("mobilenet_v2_28", {})) {
    Network network({.model = "mobilenet_v2_28", .options = {}, .parts = {}});
    const Shape shape = network.parameter(layer + ".weight").value().shape();
    CAPTURE(layer);
    CHECK((shape.size() == 2 || shape[1] > 1));
  }
}

TEST_CASE("prunable weights: a choice that leaves none is refused with its place") {
  Network network({.model = "vgg_bn_28", .options = {}, .parts = {}});
  CHECK_THROWS_WITH_AS(
      prunable_weights(network, {.layers = {"features.0"}}, "x.yaml:1: m"),
      "x.yaml:1: m: layers, skip and first_layer leave no weights of vgg_bn_28 to prune",
      RecipeError);
  CHECK_THROWS_WITH_AS(prunable_weights(network, {.layers = {"y"}}, "x.yaml:1: m"),
                       "x.yaml:1: m.layers: y matches no layer", RecipeError);
}

TEST_CASE("prunable weights: a bitmap file counts a bit per weight and four bytes per nonzero") {
  CHECK(bitmap_bytes(8, 0) == 1);
  CHECK(bitmap_bytes(9, 2) == 10);
}

}  // namespace
}  // namespace vtrain
