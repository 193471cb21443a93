#include <doctest/doctest.h>

#include <map>

#include "nn/graph.h"
#include "nn/import.h"
#include "nn/network.h"
#include "tensor/random.h"
#include "tests/golden.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

Network resnet(const std::string& name) {
  return Network({.model = name,
                  .options = {.num_classes = 10, .channels = 3, .image_size = 32},
                  .parts = {}});
}

Tensor images(int64_t n) {
  return Random(3, "", "images").normal({n, 3, 32, 32}, {}, 0, DType::f32).channels_last();
}

// He et al., arXiv:1512.03385, section 4.2: 0.27, 0.46, 0.66, 0.85, 1.7 M parameters.
TEST_CASE("resnet for CIFAR: parameters and multiply-adds of every depth are the published ones") {
  const std::map<std::string, std::pair<int64_t, double>> published = {
      {"resnet20", {269'722, 40.55}},
      {"resnet32", {464'154, 68.86}},
      {"resnet44", {658'586, 97.17}},
      {"resnet56", {853'018, 125.49}},
      {"resnet110", {1'727'962, 252.89}}};
  for (const auto& entry : published) {
    CAPTURE(entry.first);
    const auto& [name, counts] = entry;
    Network network = resnet(name);
    CHECK(network.parameter_count() == counts.first);
    CHECK(static_cast<double>(Graph(network).macs()) / 1e6 ==
          doctest::Approx(counts.second).epsilon(1e-4));  // published to two digits
  }
}

// By hand: 9 (1 + 2 * 8) * 8 at 28x28, 9 (8 + 16) * 16 at 14x14, 9 (16 + 32) * 32 at 7x7, and 320.
TEST_CASE("resnet for CIFAR: ResNet-8 for 28x28 images has the counts of its layers") {
  Network network({.model = "resnet8_28", .options = {}, .parts = {}});
  CHECK(network.parameter_count() == 19'074);
  CHECK(Graph(network).macs() ==
        28 * 28 * 9 * 17 * 8 + 14 * 14 * 9 * 24 * 16 + 7 * 7 * 9 * 48 * 32 + 320);
}

TEST_CASE("resnet for CIFAR: twice as wide, ResNet-8 has four times the multiply-adds") {
  Network network({.model = "resnet8_x2_28", .options = {}, .parts = {}});
  CHECK(Graph(network).macs() ==
        28 * 28 * 9 * (1 + 2 * 16) * 16 + 14 * 14 * 9 * 48 * 32 + 7 * 7 * 9 * 96 * 64 + 640);
}

TEST_CASE("convolutional networks refuse stochastic depth, which they do not have") {
  for (const char* const name : {"resnet20", "resnet18", "mobilenet_v2", "vgg_bn_28"}) {
    CAPTURE(name);
    ModelOptions options = find_model(name).usual;
    options.drop_path = 0.1;
    CHECK_THROWS_WITH_AS(find_model(name).make(options),
                         doctest::Contains("model.drop_path: expected 0, since "), RecipeError);
  }
}

TEST_CASE("resnet for CIFAR: hooks see sums and activations, and change nothing by looking") {
  Network network = resnet("resnet20");
  network.initialise(1);
  Pass pass;
  pass.is_training = true;
  Network watched = resnet("resnet20");
  watched.load_state(network.state(), "copy");
  const Tensor x = images(4);
  const Tensor fused = network.forward(x, pass).logits.value();
  const Tap sum = watched.hooks().tap("layer2.0.add.out", "test"),
            active = watched.hooks().tap("layer2.0.act2.out", "test");
  const Tensor plain = watched.forward(x, pass).logits.value();
  CHECK(sum.value().shape() == Shape{4, 32, 16, 16});
  CHECK(active.value().shape() == Shape{4, 32, 16, 16});
  // One path adds and clamps in the pass over memory that normalises, the other after it.
  CHECK(relative_error(plain, fused) < 1e-5);
  // Both moved the running statistics alike.
  CHECK(relative_error(watched.state().at("bn1.running_var"),
                       network.state().at("bn1.running_var")) < 1e-6);
  CHECK(network.state().at("bn1.running_var").to_vector() != ones({16}).to_vector());
}

TEST_CASE("resnet for CIFAR: an evaluation pass leaves the running statistics alone") {
  Network network = resnet("resnet20");
  network.initialise(1);
  const std::vector<double> before = network.state().at("layer1.0.bn1.running_mean").to_vector();
  network.logits(images(2));
  CHECK(network.state().at("layer1.0.bn1.running_mean").to_vector() == before);
}

TEST_CASE("import: weights of another program, with its prefix and counters, give its network") {
  const TemporaryFolder folder;
  Network network = resnet("resnet20");
  network.initialise(5);
  NamedTensors file;
  for (const auto& [name, tensor] : network.state()) file.tensors["module." + name] = tensor;
  file.tensors["module.bn1.num_batches_tracked"] = zeros({1}, DType::i64);
  file.tensors["module.linear.weight"] =
      network.state().at("linear.weight").reshape({10, 64, 1, 1});
  write_safetensors(folder / "foreign.safetensors", file);
  const auto imported = import_weights(folder / "foreign.safetensors", {.model = "resnet20"});
  const Tensor x = images(2);
  CHECK(imported->logits(x).to_vector() == network.logits(x).to_vector());
  CHECK(imported->preprocessing.mean == std::vector<double>{0.485, 0.456, 0.406});
  CHECK(imported->architecture().options.image_size == 32);

  file.tensors.erase("module.layer3.2.conv2.weight");
  write_safetensors(folder / "less.safetensors", file);
  CHECK_THROWS_WITH_AS(
      import_weights(folder / "less.safetensors", {.model = "resnet20"}),
      doctest::Contains("has no tensor layer3.2.conv2.weight, which resnet20 needs"),
      CheckpointError);
}

}  // namespace
}  // namespace vtrain
