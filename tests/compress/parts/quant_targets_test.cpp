#include "compress/parts/quant_targets.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/parts/observed_ranges.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

std::vector<std::string> paths_of(const QuantTargets& targets) {
  std::vector<std::string> paths;
  for (const QuantLayer& layer : targets.layers) paths.push_back(layer.path);
  return paths;
}

TEST_CASE("quant targets: layers have their norms and what they read, values their places") {
  Network network({.model = "resnet8_28", .options = find_model("resnet8_28").usual, .parts = {}});
  const QuantTargets targets = quant_targets(network, {}, "test");
  REQUIRE(targets.layers.size() == 8);
  const QuantLayer &stem = targets.layers[0], &last = targets.layers[7];
  CHECK(stem.is_first);
  CHECK(!stem.is_last);
  REQUIRE(stem.norm);
  CHECK(stem.norm->path == "bn1");
  CHECK(stem.norm->var.path() == "bn1.running_var");
  CHECK(targets.values[static_cast<size_t>(stem.value)].name == "images");
  CHECK(last.path == "linear");
  CHECK(last.is_last);
  CHECK(!last.norm);
  CHECK(last.bias.path() == "linear.bias");
  const QuantValue& read = targets.values[static_cast<size_t>(targets.layers[1].value)];
  CHECK(read.scheme == CodeScheme::kUnsigned);
  CHECK(std::ranges::count(read.places, "act1.out") == 1);
}

TEST_CASE("quant targets: globs and words choose layers, also through a transformer's patches") {
  Network network({.model = "resnet8_28", .options = find_model("resnet8_28").usual, .parts = {}});
  CHECK(paths_of(quant_targets(network, {.layers = {"layer1.*", "last"}}, "test")) ==
        std::vector<std::string>{"layer1.0.conv1", "layer1.0.conv2", "linear"});
  Network vit({.model = "deit_micro_patch4_28",
               .options = find_model("deit_micro_patch4_28").usual,
               .parts = {}});
  const std::vector<std::string> all = paths_of(quant_targets(vit, {}, "test")),
                                 inner =
                                     paths_of(quant_targets(vit, {.skip = {"first", "last"}}, "t"));
  REQUIRE(all.size() == 6 * 4 + 2);
  CHECK(inner == std::vector<std::string>(all.begin() + 1, all.end() - 1));
  CHECK(all.front() == "patch_embed.proj");
  CHECK(all.back() == "head");
}

TEST_CASE("quant targets: codes take a norm in exactly, and turn where its factor is negative") {
  const Parameter weight({3}, Init::ones()), bias({3}, Init::zeros()), mean({3}, Init::zeros()),
      var({3}, Init::ones());
  NormBehind norm{.path = "bn", .weight = weight, .bias = bias, .mean = mean, .var = var, .eps = 0};
  norm.weight.set(from_values({3}, {2, -1, 0}));
  norm.var.set(from_values({3}, {16, 4, 1}));
  const Tensor codes = from_values({3, 2}, {1, -3, 7, 0, 5, -5}, DType::i8);
  const RoundedWeight rounded = rounded_weight(codes, from_values({1}, {0.5}), norm);
  CHECK(rounded.weight.to_vector() == std::vector<double>{0.25, -0.75, -1.75, 0, 0, 0});
  CHECK(rounded.quantizer.codes(rounded.weight).to_vector() ==
        std::vector<double>{1, -3, -7, 0, 0, 0});
  CHECK(rounded.quantizer.scale().to_vector() == std::vector<double>{0.25, 0.25, 1});
  const RoundedWeight plain = rounded_weight(codes, from_values({3}, {1, 2, 4}), {});
  CHECK(plain.weight.to_vector() == std::vector<double>{1, -3, 14, 0, 20, -20});
}

TEST_CASE("observed ranges: what a buffer keeps is all that the next batch is averaged with") {
  ObservedRanges ranges({"a", "b"}, "ema", {{.decay = 0.5}, {.decay = 0.5}});
  CHECK(!ranges.has_seen(0));
  CHECK_THROWS_AS(ranges.range(0), Error);
  ranges.observe(0, from_values({2}, {-1, 3}));
  CHECK(ranges.range(0) == ValueRange{.low = -1, .high = 3});
  ranges.observe(0, from_values({2}, {0, 7}));
  CHECK(ranges.range(0) == ValueRange{.low = -0.5, .high = 5});
  CHECK(!ranges.has_seen(1));
  // Another object with the same buffers, as after a resume.
  ObservedRanges again({"a", "b"}, "ema", {{.decay = 0.5}, {.decay = 0.5}});
  std::vector<Parameter> to = again.parameters();
  const std::vector<Parameter> from = ranges.parameters();
  for (size_t i = 0; i < to.size(); ++i) {
    CHECK(to[i].is_buffer());
    to[i].set(from[i].value());
  }
  for (ObservedRanges* const each : {&ranges, &again}) each->observe(0, from_values({2}, {0.5, 1}));
  CHECK(again.range(0) == ranges.range(0));
  CHECK(again.range(0) == ValueRange{.low = 0, .high = 3});
}

}  // namespace
}  // namespace vtrain
