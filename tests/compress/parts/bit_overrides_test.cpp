#include "compress/parts/bit_overrides.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "compress/knobs.h"

namespace vtrain {
namespace {

std::unique_ptr<Network> resnet(const std::string& model) {
  ModelOptions options = find_model(model).usual;
  if (model == "resnet18") options.image_size = 32;
  return std::make_unique<Network>(Architecture{.model = model, .options = options, .parts = {}});
}

/// Of a method with 4 bits for both; `entries` stand on line 2 of x.yaml.
struct ReadOverrides {
  explicit ReadOverrides(const std::string& entries, int64_t activation_bits = 4)
      : recipe(Recipe::from_text("method:\n  overrides: {" + entries + "}\n", "x.yaml")) {
    Recipe section = recipe.section("method");
    overrides = BitOverrides(
        section, {{.key = kWeightBits, .own = 4, .help = "of weights"},
                  {.key = kActivationBits, .own = activation_bits, .help = "of inputs"}});
    recipe.finish();
  }
  Recipe recipe;
  BitOverrides overrides;
};

/// Weight bits of the network's layers, in order.
std::vector<int64_t> matched(const std::string& entries, const QuantTargets& targets) {
  ReadOverrides read(entries);
  read.overrides.match(targets);
  std::vector<int64_t> bits;
  for (const QuantLayer& layer : targets.layers)
    bits.push_back(read.overrides.of(kWeightBits, layer.path, 4));
  return bits;
}

TEST_CASE("bit overrides: globs and words name layers, and the last entry with a key counts") {
  const auto network = resnet("resnet8_28");
  const QuantTargets targets = quant_targets(*network, {}, "test");
  using Bits = std::vector<int64_t>;
  CHECK(matched("", targets) == Bits{4, 4, 4, 4, 4, 4, 4, 4});
  CHECK(matched("first: {weight_bits: 8}, \"layer3.*\": {weight_bits: 2}, last: {weight_bits: 7}",
                targets) == Bits{8, 4, 4, 4, 4, 2, 2, 7});
  CHECK(matched("\"*\": {weight_bits: 3}, layer2.0.conv1: {weight_bits: 8}", targets) ==
        Bits{3, 3, 3, 8, 3, 3, 3, 3});
  CHECK(matched("\"*.conv1\": {weight_bits: 3, activation_bits: 8}, "
                "layer1.0.conv1: {activation_bits: 5}, layer2.0.conv1: null",
                targets) == Bits{4, 3, 4, 3, 4, 3, 4, 4});
}

TEST_CASE("bit overrides: a value has the bits that its readers want") {
  const auto network = resnet("resnet8_28");
  const QuantTargets targets = quant_targets(*network, {}, "test");
  ReadOverrides read("layer2.0.conv1: {activation_bits: 2}, last: {activation_bits: 8}");
  read.overrides.match(targets);
  const std::vector<int64_t> bits =
      read.overrides.of_values(kActivationBits, targets, [](size_t) { return 4; });
  REQUIRE(bits.size() == targets.values.size());
  for (const QuantLayer& layer : targets.layers) {
    CAPTURE(layer.path);
    CHECK(bits[static_cast<size_t>(layer.value)] == (layer.path == "layer2.0.conv1" ? 2
                                                     : layer.is_last                ? 8
                                                                                    : 4));
  }
}

TEST_CASE("bit overrides: two layers that read one value have to want the same of it") {
  const auto network = resnet("resnet18");
  const QuantTargets targets = quant_targets(*network, {}, "test");
  const auto values = [&](const std::string& entries) {
    ReadOverrides read(entries);
    read.overrides.match(targets);
    return read.overrides.of_values(kActivationBits, targets, [](size_t) { return 4; });
  };
  CHECK_THROWS_WITH_AS(
      values("layer2.0.conv1: {activation_bits: 8}"),
      "x.yaml:2: method.overrides.layer2.0.conv1.activation_bits: layer2.0.conv1 wants 8 bits of "
      "layer1.1.act2/relu.0, and layer2.0.downsample.0, which reads with the same scale, 4; "
      "expected one "
      "number for both",
      RecipeError);
  const std::vector<int64_t> agreed =
      values("layer2.0.conv1: {activation_bits: 8}, layer2.0.downsample.0: {activation_bits: 8}");
  CHECK(std::ranges::count(agreed, 8) == 1);
}

TEST_CASE("bit overrides: what has no effect or no place is refused where it stands") {
  const auto network = resnet("resnet8_28");
  const QuantTargets targets =
      quant_targets(*network, {.layers = {"*"}, .skip = {"layer1.*"}}, "test");
  const auto refused = [&](const std::string& entries, const char* message,
                           int64_t activation_bits = 4) {
    CAPTURE(entries);
    const auto read_and_match = [&] {
      ReadOverrides read(entries, activation_bits);
      read.overrides.match(targets);
    };
    CHECK_THROWS_WITH_AS(read_and_match(), message, RecipeError);
  };
  refused("conv9: {weight_bits: 8}",
          "x.yaml:2: method.overrides.conv9: matches no layer that is rounded");
  refused("\"layer1.*\": {weight_bits: 8}",
          "x.yaml:2: method.overrides.layer1.*: matches no layer that is rounded");
  refused("last: {weight_bits: 9}",
          "x.yaml:2: method.overrides.last.weight_bits: expected 2 to 8, got 9");
  refused("last: {weight_bits: 1}",
          "x.yaml:2: method.overrides.last.weight_bits: expected an integer in [2, 32], got 1");
  refused("last: {weight_bits: 32}",
          "x.yaml:2: method.overrides.last.weight_bits: expected 2 to 8, got 32: a layer that "
          "stays real belongs in skip");
  refused("last: {weight_bit: 8}",
          "x.yaml:2: method.overrides.last.weight_bit: unknown key; did you mean weight_bits?");
  refused("last: {}",
          "x.yaml:2: method.overrides.last: has no effect; expected weight_bits or "
          "activation_bits");
  refused("last: {weight_bits: null}",
          "x.yaml:2: method.overrides.last: has no effect; expected weight_bits or "
          "activation_bits");
  refused("last: 8", "x.yaml:2: method.overrides.last: expected a mapping, got 8");
  refused("last: {weight_bits: 8}, \"*\": {weight_bits: 2}",
          "x.yaml:2: method.overrides.last.weight_bits: has no effect: entries behind it name all "
          "of its layers again");
  refused("last: {activation_bits: 8}",
          "x.yaml:2: method.overrides.last.activation_bits: has no effect beside activation_bits "
          "32 of the method, which rounds none of them",
          kRealBits);
  // As the method has it anyway: nothing to refuse.
  CHECK_NOTHROW(ReadOverrides("last: {weight_bits: 4, activation_bits: 32}", kRealBits)
                    .overrides.match(targets));
}

TEST_CASE("bit overrides: the keys of an entry are documented, with their ranges") {
  std::map<std::string, KeyInfo> keys;
  for (const Knob& knob : knobs_of(*find_method("dorefa"))) keys[knob.key.address] = knob.key;
  REQUIRE(keys.contains("overrides"));
  CHECK(keys.at("overrides").help.find("{\"layer3.*\": {weight_bits: 3}}") != std::string::npos);
  REQUIRE(keys.contains("overrides.*.weight_bits"));
  CHECK(keys.at("overrides.*.weight_bits").range == "in [1, 7]");
  CHECK(keys.at("overrides.*.activation_bits").range == "in [1, 8]");
}

TEST_CASE("bit overrides: a text says one number, or the range") {
  CHECK(bits_text(std::vector<int64_t>{4, 4}) == "4 bits");
  CHECK(bits_text(std::vector<int64_t>{4, 2, 8}) == "2 to 8 bits");
}

}  // namespace
}  // namespace vtrain
