#include "nn/models/vgg.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "nn/graph.h"
#include "nn/network.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

constexpr int64_t kM = VggConfig::kPool;

double mega_macs(Network& network) {
  return std::round(static_cast<double>(Graph(network).macs()) / 1e6);
}
void set(Model& model, const std::string& path, const Tensor& value) {
  for (Parameter p : model.parameters()) {
    if (p.path() == path) p.set(value);
  }
}

// Simonyan, Zisserman, arXiv:1409.1556, table 2: 133, 133, 138, 144 M; to all digits torchvision's.
TEST_CASE("vgg: parameter counts of every depth are torchvision's") {
  const std::map<std::string, int64_t> expected = {
      {"vgg11", 132'863'336},    {"vgg11_bn", 132'868'840}, {"vgg13", 133'047'848},
      {"vgg13_bn", 133'053'736}, {"vgg16", 138'357'544},    {"vgg16_bn", 138'365'992},
      {"vgg19", 143'667'240},    {"vgg19_bn", 143'678'248}};
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    const auto& [name, count] = entry;
    const Network network({.model = name, .options = find_model(name).usual, .parts = {}});
    CHECK(network.parameter_count() == count);
  }
}

// The sum over the layers' shapes.
TEST_CASE("vgg: multiply-adds of every depth are the published ones") {
  const std::map<std::string, double> expected = {
      {"vgg11_bn", 7609}, {"vgg13_bn", 11308}, {"vgg16_bn", 15470}, {"vgg19_bn", 19632}};
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    const auto& [name, macs] = entry;
    Network network({.model = name, .options = find_model(name).usual, .parts = {}});
    CHECK(mega_macs(network) == macs);
  }
}

TEST_CASE("vgg: the variants for small images have the counts of their layer tables") {
  Network cifar(
      {.model = "vgg16_bn_cifar", .options = find_model("vgg16_bn_cifar").usual, .parts = {}});
  CHECK(cifar.parameter_count() == 14'728'266);
  CHECK(Graph(cifar).macs() == 313'201'664);
  Network tiny({.model = "vgg_bn_28", .options = {}, .parts = {}});
  CHECK(tiny.parameter_count() == 61'226);
  CHECK(Graph(tiny).macs() == 28 * 28 * 9 * 16 + 14 * 14 * 9 * 16 * 32 + 7 * 7 * 9 * 32 * 64 +
                                  7 * 7 * 9 * 64 * 64 + 64 * 10);
}

// Convolutions, two numbers of each norm's channels, and the linear layer: by hand.
TEST_CASE("vgg: the shallow variants have the counts of their layer tables") {
  Network three({.model = "vgg3_bn_28", .options = {}, .parts = {}});
  CHECK(three.parameter_count() == 160 + 4640 + 18496 + 2 * 112 + 650);
  CHECK(Graph(three).macs() == 1'919'872);
  const auto flat = [](const std::string& name) {
    return Network({.model = name, .options = find_model(name).usual, .parts = {}});
  };
  Network student = flat("vgg2_bn_14");
  CHECK(student.parameter_count() == 80 + 1168 + 2 * 24 + 1450);
  CHECK(Graph(student).macs() == 14 * 14 * 9 * 8 + 7 * 7 * 9 * 8 * 16 + 144 * 10);
  CHECK(flat("vgg2_bn_14_x2").parameter_count() == 160 + 4640 + 2 * 48 + 2890);
  CHECK(flat("vgg4_bn_14_x2").parameter_count() == 160 + 2320 + 4640 + 9248 + 2 * 96 + 2890);
  CHECK(flat("vgg4_bn_14_x3").parameter_count() == 240 + 5208 + 10416 + 20784 + 2 * 144 + 4330);
}

// Element (c, h, w) of the features feeds column 49 c + 7 h + w of the first linear layer.
TEST_CASE("vgg: the head reads features by channel, row and column") {
  Vgg model({.layers = {2}, .has_batch_norm = false, .channels = 1, .num_classes = 1});
  model.set_path("");
  for (const Parameter& p : model.parameters()) Parameter(p).set(zeros(p.value().shape()));
  Tensor kernel = zeros({2, 1, 3, 3});  // channel 0 is the image, channel 1 twice the image
  for (int64_t c = 0; c < 2; ++c) {
    kernel.slice(0, c, c + 1).slice(2, 1, 2).slice(3, 1, 2).fill(static_cast<double>(c + 1));
  }
  set(model, "features.0.weight", kernel);
  const Tensor image = Random(1, "", "image").uniform({1, 1, 7, 7}, {});
  const std::vector<double> pixels = image.to_vector();
  Tensor one = zeros({4096, 4096}), out = zeros({1, 4096});
  one.slice(0, 0, 1).slice(1, 0, 1).fill(1);
  out.slice(1, 0, 1).fill(1);
  set(model, "classifier.3.weight", one);
  set(model, "classifier.6.weight", out);
  for (const int64_t column : {0, 5, 7 * 3 + 2, 49 + 6, 49 + 7 * 6 + 1}) {
    CAPTURE(column);
    Tensor first = zeros({4096, 98});
    first.slice(0, 0, 1).slice(1, column, column + 1).fill(1);
    set(model, "classifier.0.weight", first);
    const double logit =
        model.outputs(Variable(image.channels_last()), Pass{}).logits.value().item();
    CHECK(logit == static_cast<double>(1 + column / 49) *
                       pixels[static_cast<size_t>(column % 49)]);  // a product with 1 or 2 is exact
  }
}

// w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta.
TEST_CASE("vgg: a normalisation folded into its convolution gives the same logits") {
  const std::vector<int64_t> layers = {6, kM, 5, 7, kM};
  const VggConfig config{
      .layers = layers, .head = VggHead::kAverage, .channels = 2, .num_classes = 3};
  Vgg model(config);
  model.set_path("");
  model.initialise(1);
  std::map<std::string, Tensor> state;
  for (Parameter p : model.parameters()) {
    const Tensor noise = Random(2, "", p.path()).uniform({1, p.value().numel()}, {});
    if (p.value().ndim() == 1) p.set(noise.reshape(p.value().shape()));
    state[p.path()] = p.value();
  }
  VggConfig plain = config;
  plain.has_batch_norm = false;
  Vgg folded(plain);
  folded.set_path("");
  const std::map<std::string, std::string> conv_of = {
      {"features.0", "features.0"}, {"features.3", "features.4"}, {"features.5", "features.7"}};
  set(folded, "classifier.weight", state["classifier.weight"]);
  set(folded, "classifier.bias", state["classifier.bias"]);
  for (const auto& [to, from] : conv_of) {
    const std::string bn = str("features.", std::stoi(from.substr(9)) + 1);
    std::vector<double> w = state[from + ".weight"].to_vector(),
                        b = state[from + ".bias"].to_vector();
    const std::vector<double> gamma = state[bn + ".weight"].to_vector(),
                              beta = state[bn + ".bias"].to_vector(),
                              mean = state[bn + ".running_mean"].to_vector(),
                              var = state[bn + ".running_var"].to_vector();
    const size_t per_channel = w.size() / b.size();
    for (size_t c = 0; c < b.size(); ++c) {
      const double scale = gamma[c] / std::sqrt(var[c] + 1e-5);
      for (size_t i = 0; i < per_channel; ++i) w[c * per_channel + i] *= scale;
      b[c] = (b[c] - mean[c]) * scale + beta[c];
    }
    set(folded, to + ".weight", from_values(state[from + ".weight"].shape(), w));
    set(folded, to + ".bias", from_values(state[from + ".bias"].shape(), b));
  }
  const Tensor images = Random(3, "", "images").normal({2, 2, 9, 11}, {}).channels_last();
  CHECK(relative_error(folded.outputs(Variable(images), Pass{}).logits.value(),
                       model.outputs(Variable(images), Pass{}).logits.value()) < 1e-5);  // f32
}

TEST_CASE("vgg: images of another channel count are refused") {
  Vgg model({.layers = {2}, .head = VggHead::kAverage, .num_classes = 2});
  CHECK_THROWS_WITH_AS(model.outputs(Variable(zeros({1, 1, 8, 8})), Pass{}),
                       "[vgg] images (1, 1, 8, 8): expected (N, 3, H, W)", ShapeError);
}

}  // namespace
}  // namespace vtrain
