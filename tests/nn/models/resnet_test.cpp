#include "nn/models/resnet.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "nn/graph.h"
#include "nn/network.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

struct Counts {
  int64_t params, macs;
};

Tensor images(int64_t n, int64_t side) {
  return Random(3, "", "images").normal({n, 3, side, side}, {}, 0, DType::f32).channels_last();
}

/// Four stages of two blocks, 4 to 32 channels wide.
ResNetConfig narrow(bool has_bottlenecks) {
  return {.has_bottlenecks = has_bottlenecks, .width = 4, .num_classes = 5};
}

// He et al., arXiv:1512.03385, table 1, to all digits: torchvision's networks, their convolutions
// and linear layers counted in a forward pass at the same size.
TEST_CASE("resnet: parameters and multiply-adds of every depth are torchvision's") {
  const std::map<std::string, Counts> expected = {{"resnet18", {11'689'512, 1'814'073'344}},
                                                  {"resnet34", {21'797'672, 3'663'761'408}},
                                                  {"resnet50", {25'557'032, 4'089'184'256}},
                                                  {"resnet101", {44'549'160, 7'801'405'440}},
                                                  {"resnet18_cifar", {11'173'962, 555'422'720}},
                                                  {"resnet34_cifar", {21'282'122, 1'159'402'496}},
                                                  {"resnet50_cifar", {23'520'842, 1'297'829'888}}};
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    const auto& [name, counts] = entry;
    Network network({.model = name, .options = find_model(name).usual, .parts = {}});
    CHECK(network.parameter_count() == counts.params);
    CHECK(Graph(network).macs() == counts.macs);
  }
}

// The paper's own placement.
TEST_CASE(
    "resnet: with the stride on the first 1x1 a bottleneck's middle shrinks, not its weights") {
  ResNetConfig config = narrow(true), paper = config;
  paper.has_stride_on_3x3 = false;
  ResNet v15(config), v1(paper);
  v15.set_path("");
  v1.set_path("");
  v15.initialise(1);
  v1.initialise(1);
  for (ResNet* const model : {&v15, &v1}) {
    Hooks hooks;
    const Tap middle = hooks.tap("layer2.0.act1.out", "test");
    Pass pass;
    pass.hooks = &hooks;
    const Shape logits = model->outputs(Variable(images(2, 32)), pass).logits.shape();
    CHECK(logits == Shape{2, 5});
    CHECK(middle.value().shape() == (model == &v15 ? Shape{2, 8, 8, 8} : Shape{2, 8, 4, 4}));
  }
  CHECK(v15.parameters().size() == v1.parameters().size());
}

TEST_CASE("resnet: with zero_init_residual blocks that keep their shape start as the identity") {
  for (const bool has_bottlenecks : {false, true}) {
    CAPTURE(has_bottlenecks);
    ResNetConfig config = narrow(has_bottlenecks);
    config.zero_init_residual = true;
    ResNet model(config);
    model.set_path("");
    model.initialise(1);
    const std::string last = has_bottlenecks ? ".act3.out" : ".act2.out";
    Hooks hooks;
    const Tap first = hooks.tap("layer2.0" + last, "test"),
              second = hooks.tap("layer2.1" + last, "test");
    Pass pass;
    pass.is_training = true;
    pass.hooks = &hooks;
    model.outputs(Variable(images(2, 32)), pass);
    const std::vector<double> x = first.value().value().to_vector();
    CHECK(*std::max_element(x.begin(), x.end()) > 0);
    CHECK(second.value().value().to_vector() == x);  // a sum with 0, and relu of what is >= 0
  }
}

TEST_CASE("resnet: without it the last normalisation of a block starts at 1, as torchvision's") {
  ResNet model(narrow(true));
  model.set_path("");
  model.initialise(1);
  for (const Parameter& p : model.parameters()) {
    if (!p.path().ends_with("bn3.weight")) continue;
    CAPTURE(p.path());
    CHECK(p.value().to_vector() == std::vector<double>(static_cast<size_t>(p.value().numel()), 1));
  }
}

// He, Zhang, Ren, Sun, arXiv:1502.01852: variance 2 / fan out. 36,864 draws of std s give one
// within s / sqrt(2 * 36864) = 0.4 % of s.
TEST_CASE("resnet: convolutions start normal with variance 2 / fan out") {
  Network network({.model = "resnet18", .options = find_model("resnet18").usual, .parts = {}});
  network.initialise(1);
  double square = 0;
  const std::vector<double> w = network.parameter("layer1.0.conv1.weight").value().to_vector();
  for (const double v : w) square += v * v;
  CHECK(std::sqrt(square / static_cast<double>(w.size())) ==
        doctest::Approx(std::sqrt(2.0 / (64 * 9))).epsilon(0.02));
}

TEST_CASE("resnet: hooks see sums and activations, and change nothing by looking") {
  for (const bool has_bottlenecks : {false, true}) {
    CAPTURE(has_bottlenecks);
    ResNet model(narrow(has_bottlenecks));
    model.set_path("");
    model.initialise(1);
    Hooks hooks;
    const Tap sum = hooks.tap("layer3.0.add.out", "test"), active = hooks.tap("act1.out", "test"),
              pooled = hooks.tap("max_pool.out", "test");
    Pass pass;
    pass.is_training = true;
    const Tensor fused = model.outputs(Variable(images(3, 33)), pass).logits.value();
    pass.hooks = &hooks;
    const Tensor plain = model.outputs(Variable(images(3, 33)), pass).logits.value();
    CHECK(active.value().shape() == Shape{3, 4, 17, 17});
    CHECK(pooled.value().shape() == Shape{3, 4, 9, 9});
    CHECK(sum.value().shape() == Shape{3, has_bottlenecks ? 64 : 16, 3, 3});
    // One path adds and clamps in the pass over memory that normalises, the other after it.
    CHECK(relative_error(plain, fused) < 1e-5);
  }
}

TEST_CASE("resnet: images of another channel count are refused") {
  ResNet model(narrow(false));
  CHECK_THROWS_WITH_AS(model.outputs(Variable(zeros({1, 1, 32, 32})), Pass{}),
                       "[resnet] images (1, 1, 32, 32): expected (N, 3, H, W)", ShapeError);
}

}  // namespace
}  // namespace vtrain
