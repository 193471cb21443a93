#include "nn/models/mobilenet_v2.h"

#include <doctest/doctest.h>

#include <algorithm>
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

Tensor images(int64_t n) {
  return Random(3, "", "images").normal({n, 1, 28, 28}, {}, 0, DType::f32).channels_last();
}
Network tiny() {
  Network network({.model = "mobilenet_v2_28", .options = {}, .parts = {}});
  network.initialise(1);
  return network;
}

// Sandler et al., arXiv:1801.04381, table 4: 3.4 M and 300 M, 6.9 M and 585 M at 1.4. To all digits
// those of torchvision's network, counted in a forward pass; the small variants' by hand.
TEST_CASE("mobilenet_v2: parameters and multiply-adds of every width are torchvision's") {
  const std::map<std::string, Counts> expected = {{"mobilenet_v2", {3'504'872, 300'774'272}},
                                                  {"mobilenet_v2_050", {1'968'680, 97'131'840}},
                                                  {"mobilenet_v2_075", {2'636'424, 209'069'792}},
                                                  {"mobilenet_v2_140", {6'108'776, 582'195'824}},
                                                  {"mobilenet_v2_cifar", {2'236'682, 87'976'448}}};
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    const auto& [name, counts] = entry;
    Network network({.model = name, .options = find_model(name).usual, .parts = {}});
    CHECK(network.parameter_count() == counts.params);
    CHECK(Graph(network).macs() == counts.macs);
  }
  Network network = tiny();
  CHECK(network.parameter_count() == 26'298);
  CHECK(static_cast<double>(Graph(network).macs()) / 1e6 == doctest::Approx(2.28).epsilon(2e-3));
}

// Its own examples of the authors' rule: 0.75 * 24 = 18 would be 16, which is below 0.9 * 18.
TEST_CASE("mobilenet_v2: widths round to the nearest multiple of 8 that keeps nine tenths") {
  CHECK(make_divisible_by_8(18) == 24);
  CHECK(make_divisible_by_8(12) == 16);
  CHECK(make_divisible_by_8(19.9) == 24);
  CHECK(make_divisible_by_8(22.4) == 24);
  CHECK(make_divisible_by_8(33.6) == 32);
  CHECK(make_divisible_by_8(3) == 8);
  CHECK(make_divisible_by_8(1280) == 1280);
}

TEST_CASE(
    "mobilenet_v2: with its last scale and shift at 0 a block that keeps its shape is the "
    "identity") {
  MobileNetV2Config config;
  config.width_mult = 0.25;
  config.channels = 1;
  MobileNetV2 model(config);
  model.set_path("");
  model.initialise(1);
  for (Parameter p : model.parameters()) {
    if (p.path() == "features.3.conv.3.weight") p.set(zeros(p.value().shape()));
  }
  Hooks hooks;
  const Tap in = hooks.tap("features.3.in", "test"), out = hooks.tap("features.3.out", "test");
  Pass pass;
  pass.is_training = true;
  pass.hooks = &hooks;
  model.outputs(Variable(images(2)), pass);
  const std::vector<double> x = in.value().value().to_vector();
  CHECK(out.value().value().to_vector() == x);
  // What goes in is the linear output of a block: no activation cut it off.
  CHECK(*std::min_element(x.begin(), x.end()) < 0);
}

TEST_CASE("mobilenet_v2: hooks see activations, at most 6, and change nothing by looking") {
  MobileNetV2Config config;
  config.width_mult = 0.25;
  config.channels = 1;
  config.dropout = 0;
  MobileNetV2 model(config);
  model.set_path("");
  model.initialise(1);
  for (Parameter p : model.parameters()) {
    if (p.path() == "features.0.1.bias") p.set(full(p.value().shape(), 5));
  }
  Hooks hooks;
  const Tap active = hooks.tap("features.0.2.out", "test");
  Pass pass;
  pass.is_training = true;
  const Tensor fused = model.outputs(Variable(images(4)), pass).logits.value();
  pass.hooks = &hooks;
  const Tensor plain = model.outputs(Variable(images(4)), pass).logits.value();
  const std::vector<double> y = active.value().value().to_vector();
  CHECK(*std::max_element(y.begin(), y.end()) == 6);
  CHECK(relative_error(plain, fused) < 1e-5);
}

TEST_CASE("mobilenet_v2: dropout stands before the classifier, in training only") {
  Network network = tiny();
  const Tap in = network.hooks().tap("classifier.0.in", "test"),
            out = network.hooks().tap("classifier.0.out", "test");
  Pass pass;
  network.forward(images(8), pass);
  CHECK(out.value().value().to_vector() == in.value().value().to_vector());
  pass.is_training = true;
  network.forward(images(8), pass);
  const std::vector<double> x = in.value().value().to_vector(), y = out.value().value().to_vector();
  double dropped = 0, kept = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 0) continue;
    (y[i] == 0 ? dropped : kept) += 1;
    if (y[i] != 0) CHECK(y[i] == doctest::Approx(x[i] / 0.8).epsilon(1e-6));  // f32
  }
  // Of about a thousand draws; four standard deviations are 0.05.
  CHECK(dropped + kept > 500);
  CHECK(dropped / (dropped + kept) == doctest::Approx(0.2).epsilon(0.25));
}

TEST_CASE("mobilenet_v2: images of another channel count are refused") {
  CHECK_THROWS_WITH_AS(tiny().root().outputs(Variable(zeros({1, 3, 28, 28})), Pass{}),
                       "[mobilenet_v2] images (1, 3, 28, 28): expected (N, 1, H, W)", ShapeError);
}

}  // namespace
}  // namespace vtrain
