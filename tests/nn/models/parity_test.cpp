// Whole networks in f32 against PyTorch's in f64: tests/golden/make_parity.py. What the tolerances
// of tests/parity.h leave: the largest distances from f64, of PyTorch's own f32 and of ours.
//
//                 logits            gradients         ten losses        change in ten steps
//                 PyTorch  ours     PyTorch  ours     PyTorch  ours     PyTorch  ours
//   ResNet-20     9e-8     3e-7     7e-6     2e-5     6e-8     7e-8     2e-5     4e-5
//   ResNet-50     8e-7     2e-7     5e-6     7e-6     1e-7     2e-7     2e-5     5e-5
//   MobileNetV2   1e-6     5e-7     7e-6     1e-5     2e-7     2e-7     2e-5     5e-5
//   DeiT-Ti       4e-7     6e-7     1e-6     1e-6     2e-7     2e-7     2e-5     4e-5
//
// (Our logits are those after ten steps; elements are compared by their own scale, PyTorch's
// gradients and changes by norm alone.)
#include "tests/parity.h"

#include <doctest/doctest.h>

#include "nn/models/mobilenet_v2.h"
#include "nn/models/resnet.h"
#include "nn/models/vit.h"

namespace vtrain {
namespace {

std::string sgd(const char* lr) {
  return str("{name: sgd, lr: ", lr, ", momentum: 0.9, weight_decay: 5e-4}");
}

void check(Model& model, const Parity::Settings& settings) {
  Parity(model, settings).check_first_step();
  Parity(model, settings).check_training();  // from the start again, running statistics included
}

TEST_CASE("parity: ResNet-20 trains as in PyTorch") {
  const auto model =
      find_model("resnet20").make({.num_classes = 10, .channels = 3, .image_size = 32});
  check(*model, {.name = "resnet20", .batch = 4, .side = 32, .optimizer = sgd("1e-3")});
}

TEST_CASE("parity: ResNet-50 trains as torchvision's in PyTorch") {
  ResNet model({.blocks = {3, 4, 6, 3}, .has_bottlenecks = true, .channels = 3, .num_classes = 10});
  check(model, {.name = "resnet50", .batch = 4, .side = 64, .optimizer = sgd("2e-4")});
}

TEST_CASE("parity: MobileNetV2 trains as torchvision's in PyTorch") {
  MobileNetV2Config config;
  config.dropout = 0;
  config.num_classes = 10;
  MobileNetV2 model(config);
  check(model, {.name = "mobilenet_v2", .batch = 4, .side = 64, .optimizer = sgd("2e-4")});
}

TEST_CASE("parity: DeiT-Ti trains as torchvision's transformer in PyTorch") {
  Vit model({.image_size = 112, .num_classes = 10});
  check(model, {.name = "deit_tiny",
                .batch = 2,
                .side = 112,
                .optimizer = "{name: adamw, lr: 1e-4, eps: 1e-4, weight_decay: 0.05}"});
}

TEST_CASE("parity: the generator gives the numbers that the script's gives") {
  const std::vector<double> expected = {9144840, 12501739, 384562, 12351349};
  const std::vector<double> values = uniform_of("conv1.weight", {4}).to_vector();
  for (size_t i = 0; i < 4; ++i) CHECK((values[i] + 1) * (1 << 23) == expected[i]);
}

}  // namespace
}  // namespace vtrain
