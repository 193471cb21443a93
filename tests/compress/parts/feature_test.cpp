#include "compress/parts/feature.h"

#include <doctest/doctest.h>

#include <string>
#include <tuple>

#include "tensor/random.h"

namespace vtrain {
namespace {

Network network_of(const std::string& model) {
  return Network({.model = model, .options = {}, .parts = {}});
}

TEST_CASE("feature: shape, sign and parameters of a module's output") {
  Network resnet = network_of("resnet8_28");
  const Feature block = feature_at(resnet, "layer2.0");
  CHECK(block.place == "layer2.0.out");
  CHECK(block.shape == Shape{1, 16, 14, 14});
  CHECK(block.is_rectified);
  CHECK(block.parameters.contains("conv1.weight"));
  CHECK(block.parameters.contains("layer2.0.bn2.running_var"));
  CHECK(!block.parameters.contains("layer3.0.conv1.weight"));
  CHECK(!block.parameters.contains("linear.bias"));
  CHECK(!feature_at(resnet, "layer2.0.bn2").is_rectified);
  CHECK(feature_at(resnet, "pool").is_rectified);  // a global average of a ReLU
  CHECK(!feature_at(resnet, "linear").is_rectified);
  CHECK(feature_at(resnet, "linear").parameters.size() == resnet.parameters().size());  // all of it

  Network vgg = network_of("vgg_bn_28");
  CHECK(feature_at(vgg, "features.3").is_rectified);  // a max pool of a ReLU
  CHECK(feature_at(vgg, "features.3").shape == Shape{1, 16, 14, 14});
  Network vit = network_of("deit_micro_patch4_28");
  CHECK(feature_at(vit, "blocks.2").shape == Shape{1, 50, 96});
}

TEST_CASE("feature: what a place says is what passes there") {
  Network network = network_of("vgg_bn_28");
  network.initialise(1);
  const Feature feature = feature_at(network, "features.6");
  const Tap tap = network.hooks().tap(feature.place, "test");
  network.logits(Random(2, "", "images").normal({3, 1, 28, 28}, {}));
  const Tensor value = tap.value().value();
  CHECK(value.shape() == Shape{3, feature.shape[1], feature.shape[2], feature.shape[3]});
  CHECK(feature.is_rectified);
  for (const double v : value.to_vector()) CHECK(v >= 0);
}

TEST_CASE("feature: its channels are those of the parameter it is cut with") {
  // Any of the parameters that are cut together will do.
  for (const auto& [model, module, layers, channels] :
       {std::tuple{"vgg_bn_28", "features.2", "features.0 features.1", 16},
        {"vgg_bn_28", "features.10", "features.8 features.9", 64},
        {"resnet8_28", "layer2.0", "layer2.0", 16}}) {
    CAPTURE(module);
    Network network = network_of(model);
    const auto [parameter, axis] = feature_at(network, module).cut_with;
    CAPTURE(parameter);
    CHECK(axis == 0);
    CHECK(network.parameter(parameter).value().dim(axis) == channels);
    const std::string layer = parameter.substr(0, std::string("features.0").size());
    CHECK(std::string(layers).find(layer.substr(0, layer.rfind('.'))) != std::string::npos);
  }
  CHECK(FeatureRegressor({1, 8, 4, 4}, {1, 24, 4, 4}, {}).weight().value().shape() ==
        Shape{24, 8, 1, 1});
}

TEST_CASE("feature: a module that is not there is named with its nearest") {
  Network network = network_of("resnet8_28");
  CHECK_THROWS_WITH_AS(feature_at(network, "layer2.0.bn3"),
                       "resnet8_28 has no module layer2.0.bn3; did you mean layer2.0.bn1?", Error);
  CHECK_THROWS_AS(feature_at(network, ""), Error);
}

TEST_CASE("feature: a regressor's kernel shrinks the map to its target") {
  FeatureRegressor regressor({1, 8, 12, 10}, {1, 24, 9, 10},
                             {.has_batch_norm = true, .has_relu = true});
  regressor.set_path("r");
  regressor.initialise(4);
  int64_t trained = 0;
  for (const Parameter& p : regressor.parameters())
    trained += p.is_buffer() ? 0 : p.value().numel();
  CHECK(trained == 4 * 1 * 8 * 24 + 24 + 2 * 24);
  Pass pass;
  pass.is_training = true;
  const Tensor x = Random(5, "", "x").normal({2, 8, 12, 10}, {}).channels_last();
  const Tensor y = regressor(Variable(x), pass).value();
  CHECK(y.shape() == Shape{2, 24, 9, 10});
  for (const double v : y.to_vector()) CHECK(v >= 0);

  FeatureRegressor plain({1, 8, 9, 9}, {1, 4, 9, 9}, {.has_batch_norm = false, .has_relu = false});
  CHECK(plain.parameters().size() == 2);
}

TEST_CASE("feature: a map that is too small, or none at all, is refused") {
  const RegressorOptions options;
  CHECK_THROWS_WITH_AS(FeatureRegressor({1, 8, 7, 7}, {1, 8, 7, 8}, options),
                       "expected a map at least as large as 7 x 8, which a convolution can shrink "
                       "to it, got 7 x 7",
                       Error);
  CHECK_THROWS_WITH_AS(FeatureRegressor({1, 50, 96}, {1, 8, 7, 7}, options),
                       "expected feature maps (1, C, H, W), got (1, 50, 96) for (1, 8, 7, 7)",
                       Error);
}

}  // namespace
}  // namespace vtrain
