#include "compress/deploy/calibrate.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace vtrain {
namespace {

constexpr const char* kOwner = "int8";

const Graph::Node& node_of(const Graph& graph, int index) {
  return graph.nodes()[static_cast<size_t>(index)];
}

void check(const CalibrationOptions& o, std::span<const Tensor> batches) {
  for (const int64_t bits : {o.weight_bits, o.activation_bits}) {
    if (bits < 2 || bits > 8)
      throw RecipeError(str("bits: expected 2 to 8 for codes of a byte, got ", bits));
  }
  if (o.weight_range != "current" && o.weight_range != "mse")
    throw RecipeError(str("weight_range: expected one of current, mse, got ", o.weight_range));
  int64_t images = 0;
  for (const Tensor& batch : batches) images += batch.dim(0);
  if (images < kFewestCalibrationImages)
    throw RecipeError(
        str("calibration: expected at least ", kFewestCalibrationImages, " images, got ", images));
}

Quantizer weight_quantizer(const Tensor& weight, const CalibrationOptions& o) {
  std::vector<ValueRange> ranges =
      o.is_per_channel ? channel_ranges(weight) : std::vector<ValueRange>{min_max(weight)};
  if (o.weight_range == "mse")
    ranges =
        least_error_ranges(weight, ranges, CodeScheme::kSymmetric, o.weight_bits, o.weight_steps);
  return {ranges, CodeScheme::kSymmetric, o.weight_bits};
}

std::vector<QuantizedLayer> quantized_layers(const Graph& graph,
                                             const std::vector<Int8LayerNodes>& layers,
                                             const CalibrationOptions& options) {
  std::vector<QuantizedLayer> all;
  for (const Int8LayerNodes& nodes : layers) {
    const std::string path = weight_parameter(graph, nodes);
    if (path.empty())
      throw Error(str(nodes.path, ": its weight is computed, not a parameter: skip the layer"));
    const FoldedLayer layer = folded_layer(graph, nodes);
    all.push_back({.nodes = nodes,
                   .weight_path = path,
                   .weight = layer.weight,
                   .bias = layer.bias,
                   .quantizer = weight_quantizer(layer.weight, options)});
  }
  return all;
}

}  // namespace

std::vector<std::string> chosen_places(const Graph& graph, int value,
                                       const std::vector<std::string>& known) {
  const auto is_known = [&](const std::string& place) {
    return std::ranges::find(known, place) != known.end();
  };
  if (const int producer = graph.value(value).producer; producer >= 0) {
    std::string own = Graph::module_of(node_of(graph, producer)) + ".out";
    if (is_known(own)) return {std::move(own)};
  }
  std::set<std::string> readers;
  for (const int reader : graph.readers(value)) {
    const Graph::Node& node = node_of(graph, reader);
    std::string place = Graph::module_of(node) + ".in";
    if (!is_known(place))
      throw Error(str(node.scope,
                      ": its input cannot be quantized: no module's input or output is ",
                      "this value"));
    readers.insert(std::move(place));
  }
  return {readers.begin(), readers.end()};
}

std::string parameter_of(const Graph& graph, int value) {
  if (value < 0) return "";
  while (graph.value(value).parameter.empty()) {
    const int producer = graph.value(value).producer;
    if (producer < 0 || node_of(graph, producer).op.name != "reshape") return "";
    value = node_of(graph, producer).inputs[0];
  }
  return graph.value(value).parameter;
}

std::map<int, std::vector<std::string>> places_of_values(const Network& network,
                                                         const Graph& graph) {
  const std::unique_ptr<Network> copy = network.clone();
  std::vector<std::pair<std::string, Tap>> taps;
  for (const Module* const module : copy->root().modules()) {
    for (const char* const end : {".in", ".out"}) {
      const std::string place = module->path() + end;
      taps.emplace_back(place, copy->hooks().tap(place, kOwner));
    }
  }
  Trace trace;
  {
    const Trace::Recording recording(trace);
    const Shape one = graph.shape(graph.images(), 1);
    Pass pass;
    pass.hooks = &copy->hooks();
    copy->root().outputs(Variable(zeros(one, DType::f32, copy->device()).channels_last()), pass);
  }
  if (trace.values().size() != graph.values().size())
    throw Error(
        str("calibration of ", network.architecture().model, ": the graph is of another network"));
  std::map<int, std::vector<std::string>> places;
  for (const auto& [place, tap] : taps) {
    if (!tap.has_value()) continue;
    if (const int value = trace.find(tap.value()); value >= 0) places[value].push_back(place);
  }
  return places;
}

FoldedLayer folded_layer(const Graph& graph, const Int8LayerNodes& nodes) {
  const std::vector<int>& inputs = node_of(graph, nodes.product).inputs;
  const auto tensor = [&](int value) {
    return value < 0 ? Tensor() : graph.tensor(value).to(Device{}).to(DType::f32).contiguous();
  };
  const Tensor weight = tensor(inputs[1]), bias = tensor(inputs[2]);
  if (nodes.batch_norm < 0) return {weight, bias};
  const Graph::Node& bn = node_of(graph, nodes.batch_norm);
  return fold_batch_norm(weight, bias,
                         {.weight = tensor(bn.inputs[1]),
                          .bias = tensor(bn.inputs[2]),
                          .mean = tensor(bn.inputs[4]),
                          .var = tensor(bn.inputs[5]),
                          .eps = attribute(bn, "eps")});
}

std::string weight_parameter(const Graph& graph, const Int8LayerNodes& nodes) {
  return parameter_of(graph, node_of(graph, nodes.product).inputs[1]);
}

std::map<int, std::vector<std::string>> rounding_places(const Network& network, const Graph& graph,
                                                        const Int8Layout& layout) {
  std::map<int, std::vector<std::string>> known = places_of_values(network, graph), chosen;
  for (const ScaleGroup& group : layout.groups) {
    for (const int source : group.sources)
      chosen[source] = chosen_places(graph, source, known[source]);
  }
  return chosen;
}

Quantization calibrate(const Network& network, const Graph& graph, std::span<const Tensor> batches,
                       const CalibrationOptions& options) {
  check(options, batches);
  const Int8Layout layout = int8_layout(graph, options.skip);
  Quantization q;
  q.layers = quantized_layers(graph, layout.layers, options);

  q.places = rounding_places(network, graph, layout);
  std::vector<Observer> observers;
  const std::unique_ptr<Network> copy = network.clone();
  std::map<int, Tap> taps;
  for (const ScaleGroup& group : layout.groups) {
    ObserverOptions observed = options.observer;
    observed.scheme = group.scheme;
    observed.bits = options.activation_bits;
    observers.emplace_back(options.range, observed);
    for (const int source : group.sources)
      taps[source] = copy->hooks().tap(q.places[source].front(), kOwner);
  }
  for (const Tensor& batch : batches) {
    copy->forward(batch, Pass{});
    for (size_t i = 0; i < layout.groups.size(); ++i) {
      for (const int source : layout.groups[i].sources)
        observers[i].observe(taps.at(source).value().value());
    }
    copy->hooks().clear_taps();
  }
  for (size_t i = 0; i < layout.groups.size(); ++i) {
    const ScaleGroup& group = layout.groups[i];
    const QuantizedType type =
        quantized_type(observers[i].range(), group.scheme, options.activation_bits);
    for (const int value : group.values) q.values[value] = type;
  }
  return q;
}

Int8Layer int8_layer(const Graph& graph, const Quantization& q, const QuantizedLayer& layer) {
  const Int8LayerNodes& nodes = layer.nodes;
  Int8Layer l{.weight = layer.quantizer.codes(layer.weight),
              .weight_scale = layer.quantizer.scale(),
              .bias = layer.bias,
              .input = q.values.at(nodes.input)};
  if (nodes.activation >= 0) {
    l.activation = node_of(graph, nodes.activation).op.name == "relu6" ? Int8Activation::kRelu6
                                                                       : Int8Activation::kRelu;
  }
  const auto output = q.values.find(nodes.output);
  l.result = output == q.values.end() ? Int8Output::kReals : Int8Output::kCodes;
  if (output != q.values.end()) l.output = output->second;
  l.adds_residual = nodes.add >= 0;
  if (l.adds_residual) l.residual = q.values.at(nodes.shortcut);
  return l;
}

}  // namespace vtrain
