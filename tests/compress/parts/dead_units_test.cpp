#include "compress/parts/dead_units.h"

#include <doctest/doctest.h>

#include "compress/edit.h"
#include "compress/parts/fold_constants.h"
#include "tests/cutting.h"

namespace vtrain {
namespace {

Network trained(const std::string& model, int64_t channels = 1, int64_t image_size = 28) {
  Network network({.model = model,
                   .options = {.num_classes = 10, .channels = channels, .image_size = image_size},
                   .parts = {}});
  make_trained(network, 5);
  return network;
}

void fill(Network& network, const std::string& parameter, int axis, int64_t index, double value) {
  Tensor w = network.parameter(parameter).value();
  w.slice(axis, index, index + 1).fill(value);
}

/// The dead channels of the group of that name.
std::vector<int64_t> dead_of(Network& network, const std::string& group, int64_t* kept = nullptr) {
  const CutGroups groups(network);
  const DeadUnits dead = find_dead_units(network, groups);
  if (kept != nullptr) *kept = dead.kept;
  for (size_t g = 0; g < groups.groups().size(); ++g) {
    if (groups.groups()[g].name == group) return dead.cut[g];
  }
  return {-1};
}

TEST_CASE("dead units: a network without zeros has none") {
  Network network = trained("vgg_bn_28");
  int64_t kept = -1;
  CHECK(dead_of(network, "features.4", &kept).empty());
  CHECK(kept == 0);
}

TEST_CASE("dead units: a filter that nobody reads can go, whatever it computes") {
  Network network = trained("vgg_bn_28");
  fill(network, "features.8.weight", 1, 6, 0);
  CHECK(dead_of(network, "features.4") == std::vector<int64_t>{6});
}

TEST_CASE("dead units: a filter of zeros can go if its constant is 0 or no padding is behind it") {
  Network network = trained("vgg_bn_28");
  fill(network, "features.4.weight", 0, 6, 0);
  fill(network, "features.4.bias", 0, 6, 0);
  fill(network, "features.5.running_mean", 0, 6, 0);
  fill(network, "features.5.bias", 0, 6, 0.5);  // act(beta) = 0.5 meets a padded convolution
  int64_t kept = 0;
  CHECK(dead_of(network, "features.4", &kept).empty());
  CHECK(kept == 1);
  fill(network, "features.5.bias", 0, 6, -0.5);  // act(beta) = 0
  CHECK(dead_of(network, "features.4", &kept) == std::vector<int64_t>{6});
  CHECK(kept == 0);

  fill(network, "features.11.weight", 0, 9, 0);
  fill(network, "features.11.bias", 0, 9, 0);
  fill(network, "features.12.running_mean", 0, 9, 0);
  fill(network, "features.12.bias", 0, 9, 0.5);  // meets the linear classifier
  CHECK(dead_of(network, "features.11") == std::vector<int64_t>{9});
}

TEST_CASE("dead units: the weights of zero rows that are tiny are not zero") {
  Network network = trained("vgg_bn_28");
  fill(network, "features.8.weight", 1, 6, 1e-30);  // its square is not representable
  CHECK(dead_of(network, "features.4").empty());
}

TEST_CASE("dead units: a layer keeps one channel even if all are dead") {
  Network network = trained("vgg_bn_28");
  Tensor w = network.parameter("features.8.weight").value();
  w.fill(0);
  CHECK(dead_of(network, "features.4").size() == 31);
}

TEST_CASE("dead units: a stream's channel goes only if every layer leaves it") {
  Network network = trained("resnet8_28");
  fill(network, "layer1.0.conv1.weight", 1, 2, 0);
  CHECK(dead_of(network, "conv1").empty());  // layer2 reads it still
  const CutGroups groups(network);
  for (const CutGroup& group : groups.groups()) {
    for (size_t p = 0; group.name == "conv1" && p < group.places.size(); ++p) {
      if (group.places[p].axis != 1) continue;
      for (const int64_t i : group.indices[2][p]) fill(network, group.places[p].parameter, 1, i, 0);
    }
  }
  CHECK(dead_of(network, "conv1") == std::vector<int64_t>{2});
}

TEST_CASE("dead units: hidden units of a transformer go with their constants") {
  Network network = trained("deit_micro_patch4_28");
  fill(network, "blocks.1.mlp.fc1.weight", 0, 5, 0);  // gelu(bias) is left
  fill(network, "blocks.2.mlp.fc2.weight", 1, 8, 0);
  const CutGroups groups(network);
  const DeadUnits dead = find_dead_units(network, groups);
  int64_t count = 0;
  for (const auto& channels : dead.cut) count += static_cast<int64_t>(channels.size());
  CHECK(count == 2);
  const Tensor images = Random(3, "", "images").normal({2, 1, 28, 28}, {}).channels_last();
  const Tensor before = network.logits(images);
  fold_constants(network, groups, dead.cut);
  network.cut(groups.plan(dead.cut));
  CHECK(relative_difference(before, network.logits(images)) < 1e-5);
  CHECK(network.parameter("blocks.1.mlp.fc1.weight").value().dim(0) ==
        network.parameter("blocks.0.mlp.fc1.weight").value().dim(0) - 1);
}

}  // namespace
}  // namespace vtrain
