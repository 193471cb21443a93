#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "compress/deploy/conv2d_node.h"
#include "compress/deploy/twin.h"
#include "nn/layers/batch_norm.h"
#include "tensor/ops/reduce.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

/// A network with statistics and shifts that are not those of a fresh one, so that folding matters.
std::unique_ptr<Network> worn(const std::string& model) {
  auto network = std::make_unique<Network>(
      Architecture{.model = model, .options = find_model(model).usual, .parts = {}});
  network->initialise(3);
  int64_t step = 0;
  for (Parameter p : network->parameters()) {
    const std::string& path = p.path();
    const bool is_norm =
        p.value().ndim() == 1 && network->has_module(path.substr(0, path.rfind('.')));
    if (!is_norm) continue;
    const Tensor noise = Random(9, "", "worn").uniform(p.value().shape(), {.step = step++});
    std::vector<double> values = noise.to_vector();
    for (double& v : values) {
      if (path.ends_with("running_var"))
        v = 0.5 + v;
      else if (path.ends_with(".weight"))
        v = 0.6 + 0.8 * v;
      else
        v = 0.4 * (v - 0.5);
    }
    p.set(from_values(p.value().shape(), values));
  }
  return network;
}

std::vector<Tensor> batches_for(const Network& network, int64_t count = 2, int64_t size = 16) {
  const ModelOptions& o = network.architecture().options;
  std::vector<Tensor> batches;
  for (int64_t i = 0; i < count; ++i) {
    batches.push_back(Random(6, "", "images")
                          .normal({size, o.channels, o.image_size, o.image_size}, {.step = i})
                          .channels_last());
  }
  return batches;
}

double agreement(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = argmax_rows(a).to_vector(), y = argmax_rows(b).to_vector();
  double same = 0;
  for (size_t i = 0; i < x.size(); ++i) same += x[i] == y[i];
  return same / static_cast<double>(x.size());
}

TEST_CASE(
    "calibrate: ranges are those of the values that pass, weights those with the norm folded in") {
  const auto network = worn("resnet8_28");
  const Graph graph(*network);
  const std::vector<Tensor> batches = batches_for(*network);
  const Quantization q = calibrate(*network, graph, batches);
  REQUIRE(q.layers.size() == 8);

  // The stem: images in, and what its ReLU gives, seen by a tap of our own.
  const QuantizedLayer& stem = q.layers[0];
  const Tap tap = network->hooks().tap("act1.out", "test");
  double largest = 0, most = 0;
  for (const Tensor& batch : batches) {
    network->logits(batch);
    const ValueRange seen = min_max(tap.value().value()), in = min_max(batch);
    largest = std::max(largest, seen.high);
    most = std::max({most, in.high, -in.low});
  }
  const QuantizedType& input = q.values.at(stem.nodes.input);
  CHECK(input.range == CodeRange{.low = -128, .high = 127});
  CHECK(input.scale == static_cast<float>(most / 127));
  const QuantizedType& output = q.values.at(stem.nodes.output);
  CHECK(output.range == CodeRange{.low = 0, .high = 255});
  CHECK(output.scale == static_cast<float>(largest / 255));
  CHECK(q.places.at(stem.nodes.output) == std::vector<std::string>{"act1.out"});
  CHECK(q.places.at(stem.nodes.input) == std::vector<std::string>{"conv1.in"});

  const std::vector<double> w = network->parameter("conv1.weight").value().to_vector(),
                            gamma = network->parameter("bn1.weight").value().to_vector(),
                            var = network->parameter("bn1.running_var").value().to_vector();
  double channel = 0;  // largest folded weight of output channel 0, nine taps
  for (size_t k = 0; k < 9; ++k)
    channel = std::max(channel, std::abs(w[k] * gamma[0] / std::sqrt(var[0] + 1e-5)));
  CHECK(stem.quantizer.scale().to_vector()[0] == doctest::Approx(channel / 127).epsilon(1e-6));
  CHECK(stem.weight_path == "conv1.weight");
}

TEST_CASE("calibrate: without rounding, the twin is the network with its norms folded in") {
  for (const std::string model : {"resnet8_28", "mobilenet_v2_28", "deit_micro_patch4_28"}) {
    CAPTURE(model);
    const auto network = worn(model);
    const Graph graph(*network);
    const std::vector<Tensor> batches = batches_for(*network);
    Quantization q = calibrate(*network, graph, batches);
    const Tensor exact = network->logits(batches[0]);
    const auto twin = fake_quantized(*network, graph, q);
    const Tensor simulated = twin->logits(batches[0]);
    // Eight bits move logits, by little; rounding off, nothing is left but f32.
    CHECK(relative_error(simulated, exact) > 1e-4);
    CHECK(relative_error(simulated, exact) < 0.1);
    CHECK(agreement(simulated, exact) >= 0.8);
    q.places.clear();
    for (QuantizedLayer& layer : q.layers)
      layer.quantizer = Quantizer(channel_ranges(layer.weight), CodeScheme::kSymmetric, 16);
    CHECK(relative_error(fake_quantized(*network, graph, q)->logits(batches[0]), exact) < 2e-3);
    CHECK(network->hooks().empty());
    CHECK(relative_error(network->logits(batches[0]), exact) == 0);
  }
}

TEST_CASE("calibrate: fewer bits, and one scale for all channels, are further from the network") {
  const auto network = worn("resnet8_28");
  const Graph graph(*network);
  const std::vector<Tensor> batches = batches_for(*network);
  const Tensor exact = network->logits(batches[1]);
  const auto error = [&](const CalibrationOptions& options) {
    const Quantization q = calibrate(*network, graph, batches, options);
    return relative_error(fake_quantized(*network, graph, q)->logits(batches[1]), exact);
  };
  const double eight = error({}), four = error({.weight_bits = 4, .activation_bits = 4});
  CHECK(eight * 4 < four);
  CHECK(error({.weight_bits = 4, .activation_bits = 8, .is_per_channel = false}) >
        error({.weight_bits = 4, .activation_bits = 8}));
  CHECK(error({.skip = {"*"}}) < 1e-6);
}

double squared_error(const QuantizedLayer& layer) {
  const std::vector<double> w = layer.weight.to_vector(),
                            q = layer.quantizer(layer.weight).to_vector();
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += (w[i] - q[i]) * (w[i] - q[i]);
  return sum;
}

TEST_CASE("calibrate: mse brings the weights of every layer nearer to their values") {
  const auto network = worn("resnet8_28");
  const Graph graph(*network);
  const std::vector<Tensor> batches = batches_for(*network);
  const Quantization wide = calibrate(*network, graph, batches, {.weight_bits = 4}),
                     near = calibrate(*network, graph, batches,
                                      {.weight_range = "mse", .weight_bits = 4});
  for (size_t i = 0; i < wide.layers.size(); ++i) {
    CAPTURE(wide.layers[i].nodes.path);
    CHECK(squared_error(near.layers[i]) < squared_error(wide.layers[i]));
  }
}

/// What the twin has at a place, for a batch.
Tensor seen_at(Network& network, const std::string& place, const Tensor& images) {
  const Tap tap = network.hooks().tap(place, "test");
  network.logits(images);
  const Tensor value = tap.value().value();
  network.hooks().remove_owner("test");
  return value;
}

// The contract between training and what is deployed: given its own inputs, an integer layer gives
// the codes of its simulated twin.
TEST_CASE("calibrate: every convolution on codes has the codes of its simulated twin") {
  for (const std::string model : {"resnet8_28", "mobilenet_v2_28"}) {
    CAPTURE(model);
    const auto network = worn(model);
    const Graph graph(*network);
    const std::vector<Tensor> batches = batches_for(*network);
    const Quantization q = calibrate(*network, graph, batches);
    const auto twin = fake_quantized(*network, graph, q);
    int64_t layers = 0, differing = 0;
    for (const QuantizedLayer& layer : q.layers) {
      const Int8LayerNodes& nodes = layer.nodes;
      if (graph.nodes()[static_cast<size_t>(nodes.product)].op.name != "conv2d") continue;
      CAPTURE(nodes.path);
      const auto codes_at = [&](int value, const std::string& place) {
        return Quantizer(q.values.at(value))
            .codes(seen_at(*twin, place, batches[0]))
            .channels_last();
      };
      const auto module = [&](int node) {
        return Graph::module_of(graph.nodes()[static_cast<size_t>(node)]);
      };
      const Tensor x = codes_at(nodes.input, nodes.path + ".in");
      Tensor residual;
      if (nodes.add >= 0) {
        const int from = graph.value(nodes.shortcut).producer;
        residual = codes_at(nodes.shortcut, module(from) + ".out");
      }
      const int last = graph.value(nodes.output).producer;
      const Tensor simulated = codes_at(nodes.output, module(last) + ".out");
      const Int8Conv2d conv(int8_layer(graph, q, layer),
                            conv2d_options(graph.nodes()[static_cast<size_t>(nodes.product)]));
      const std::vector<double> a = conv.run(x, residual).to_vector(), b = simulated.to_vector();
      REQUIRE(a.size() == b.size());
      for (size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i];
      ++layers;
    }
    CHECK(layers >= 7);
    CHECK(differing == 0);
  }
}

TEST_CASE("calibrate: every linear layer on codes is its simulated twin, to f32 rounding") {
  const auto network = worn("deit_micro_patch4_28");
  const Graph graph(*network);
  const std::vector<Tensor> batches = batches_for(*network, 1);
  const Quantization q = calibrate(*network, graph, batches);
  const auto twin = fake_quantized(*network, graph, q);
  int64_t layers = 0;
  for (const QuantizedLayer& layer : q.layers) {
    if (layer.nodes.path.starts_with("patch_embed")) continue;
    CAPTURE(layer.nodes.path);
    const Int8Layer spec = int8_layer(graph, q, layer);
    CHECK(spec.result == Int8Output::kReals);
    const Tensor x = Quantizer(spec.input)
                         .codes(seen_at(*twin, layer.nodes.path + ".in", batches[0]).contiguous());
    const Tensor simulated = seen_at(*twin, layer.nodes.path + ".out", batches[0]);
    CHECK(relative_error(Int8Linear(spec).run(x), simulated) < 1e-5);
    ++layers;
  }
  CHECK(layers == 6 * 4 + 1);
}

TEST_CASE("calibrate: the same images give the same scales, whatever the batches") {
  const auto network = worn("resnet8_28");
  const Graph graph(*network);
  const std::vector<Tensor> one = batches_for(*network, 1, 32);
  const std::vector<Tensor> two{one[0].slice(0, 0, 16), one[0].slice(0, 16, 32)};
  const Quantization a = calibrate(*network, graph, one), b = calibrate(*network, graph, one);
  CHECK(a.values == b.values);
  // A batch of another size may add in another order.
  const Quantization c = calibrate(*network, graph, two);
  for (const auto& [value, type] : a.values)
    CHECK(c.values.at(value).scale == doctest::Approx(type.scale).epsilon(1e-4));
}

TEST_CASE("calibrate: too few images, unknown observers, bits and layers are refused") {
  const auto network = worn("resnet8_28");
  const Graph graph(*network);
  const std::vector<Tensor> one = batches_for(*network, 1, 1), enough = batches_for(*network, 1);
  CHECK_THROWS_WITH_AS(calibrate(*network, graph, one),
                       "calibration: expected at least 16 images, got 1", RecipeError);
  CHECK_THROWS_WITH_AS(calibrate(*network, graph, enough, {.range = "max"}),
                       "range: expected one of minmax, current, ema, percentile, mse, got max",
                       RecipeError);
  CHECK_THROWS_WITH_AS(calibrate(*network, graph, enough, {.weight_range = "ema"}),
                       "weight_range: expected one of current, mse, got ema", RecipeError);
  CHECK_THROWS_WITH_AS(calibrate(*network, graph, enough, {.activation_bits = 9}),
                       "bits: expected 2 to 8 for codes of a byte, got 9", RecipeError);
  CHECK_THROWS_WITH_AS(calibrate(*network, graph, enough, {.skip = {"conv7"}}),
                       "skip: conv7 matches no layer", RecipeError);
}

}  // namespace
}  // namespace vtrain
