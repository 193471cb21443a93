#include "compress/parts/quant_targets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compress/parts/path_glob.h"

namespace vtrain {
namespace {

const Graph::Node& graph_node(const Graph& graph, int index) {
  return graph.nodes()[static_cast<size_t>(index)];
}

/// Ops that hand on what they read in another form.
bool only_moves(const Graph::Node& node) {
  static const std::set<std::string> kMoves = {"reshape", "transpose", "patchify", "cast", "slice"};
  return kMoves.contains(node.op.name);
}
/// The value behind a chain of moves.
int origin(const Graph& graph, int value) {
  for (int p = graph.value(value).producer; p >= 0 && only_moves(graph_node(graph, p));
       p = graph.value(value).producer)
    value = graph_node(graph, p).inputs[0];
  return value;
}

struct Product {
  std::string path;
  bool is_first = false, is_last = false;
};
/// Every layer that could be on integers, by its node.
std::map<int, Product> products_of(const Graph& graph) {
  std::map<int, Product> all;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Graph::Node& n = graph.nodes()[i];
    if ((n.op.name != "conv2d" && n.op.name != "linear") || graph.is_constant(n.inputs[0]) ||
        !graph.is_constant(n.inputs[1]))
      continue;
    all[static_cast<int>(i)] = {.path = Graph::module_of(n),
                                .is_first = origin(graph, n.inputs[0]) == graph.images(),
                                .is_last = origin(graph, graph.logits()) == n.output};
  }
  return all;
}

/// For each product whether the globs and words of `wanted` name it.
std::vector<char> named(const std::map<int, Product>& products,
                        const std::vector<std::string>& wanted, const std::string& key) {
  std::vector<std::string> paths, globs;
  for (const auto& [node, product] : products) paths.push_back(product.path);
  for (const std::string& glob : wanted) {
    if (glob != "first" && glob != "last") globs.push_back(glob);
  }
  std::vector<char> is_named = matched_by(globs, paths, key);
  const auto has = [&](const char* word) { return std::ranges::count(wanted, word) > 0; };
  size_t i = 0;
  for (const auto& [node, product] : products) {
    if ((has("first") && product.is_first) || (has("last") && product.is_last)) is_named[i] = 1;
    ++i;
  }
  return is_named;
}

/// What of one state of a network is rounded, with the graph that says so.
struct LaidOutTargets {
  LaidOutTargets(Network& net, const QuantChoice& choice, const std::string& key,
                 const QuantTargets* trained = nullptr)
      : network(net), graph(net) {
    layout = int8_layout(graph, real_layers(graph, choice, key, trained));
    if (layout.layers.empty())
      throw RecipeError(
          str(key, ": layers and skip leave no layer of ", net.architecture().model, " to round"));
    try {
      places = rounding_places(net, graph, layout);
    } catch (const RecipeError&) {
      throw;
    } catch (const Error& error) {
      throw RecipeError(str(key, ": ", error.what()));
    }
    for (const ScaleGroup& group : layout.groups) {
      QuantValue value{.name = name_of_value(group.sources.front(), trained),
                       .scheme = group.scheme};
      for (const int source : group.sources) {
        const std::vector<std::string>& own = places.at(source);
        value.watched.push_back(own.front());
        value.places.insert(value.places.end(), own.begin(), own.end());
      }
      values.push_back(std::move(value));
    }
    const std::map<int, Product> products = products_of(graph);
    for (const Int8LayerNodes& nodes : layout.layers)
      layers.push_back(layer(nodes, products.at(nodes.product), key));
  }

  Network& network;
  Graph graph;
  Int8Layout layout;
  std::map<int, std::vector<std::string>> places;
  std::vector<QuantLayer> layers;  // of layout.layers
  std::vector<QuantValue> values;  // of layout.groups

 private:
  /// With `trained`, that of the value it was chosen from, where a selection has come in between.
  std::string name_of_value(int value, const QuantTargets* trained) const {
    const int producer = graph.value(value).producer;
    if (producer < 0) return "images";
    const Graph::Node& node = graph_node(graph, producer);
    const auto is_known = [&](const QuantValue& known) { return known.name == node.scope; };
    if (trained != nullptr && node.op.name == "select_channels" &&
        std::ranges::none_of(trained->values, is_known))
      return name_of_value(node.inputs[0], trained);
    return node.scope;
  }
  Parameter parameter_at(int node, size_t input) const {
    const int value = graph_node(graph, node).inputs[input];
    return value < 0 ? Parameter() : network.parameter(graph.value(value).parameter);
  }

  QuantLayer layer(const Int8LayerNodes& nodes, const Product& product,
                   const std::string& key) const {
    const std::string weight = weight_parameter(graph, nodes);
    if (weight.empty())
      throw RecipeError(str(key, ": the weight of ", nodes.path,
                            " is computed, not a parameter: expected it in skip"));
    QuantLayer layer{.path = nodes.path,
                     .weight = network.parameter(weight),
                     .bias = parameter_at(nodes.product, 2),
                     .norm = {},
                     .is_first = product.is_first,
                     .is_last = product.is_last};
    if (nodes.batch_norm >= 0) {
      const Graph::Node& bn = graph_node(graph, nodes.batch_norm);
      layer.norm = NormBehind{.path = Graph::module_of(bn),
                              .weight = parameter_at(nodes.batch_norm, 1),
                              .bias = parameter_at(nodes.batch_norm, 2),
                              .mean = parameter_at(nodes.batch_norm, 4),
                              .var = parameter_at(nodes.batch_norm, 5),
                              .eps = attribute(bn, "eps")};
    }
    const auto reads = std::ranges::find_if(layout.groups, [&](const ScaleGroup& g) {
      return std::ranges::count(g.values, nodes.input) > 0;
    });
    layer.value = static_cast<int>(reads - layout.groups.begin());
    return layer;
  }
};

/// Codes of eight bits with these scales, whatever the codes in use.
Quantizer byte_quantizer(const std::vector<double>& scales) {
  std::vector<ValueRange> ranges;
  for (const double s : scales) ranges.push_back({.low = -127 * s, .high = 127 * s});
  return {ranges, CodeScheme::kSymmetric, 8};
}

}  // namespace

QuantChoice read_quant_choice(Recipe& r, const std::vector<std::string>& skip) {
  QuantChoice choice;
  choice.layers =
      r.texts("layers", {"*"}, "layers that are rounded, * stands for anything; first, last");
  choice.skip = r.texts("skip", skip, "layers that stay real");
  return choice;
}

size_t QuantTargets::value_index(const std::string& name, const std::string& key) const {
  const auto found = std::ranges::find(values, name, &QuantValue::name);
  if (found == values.end()) throw Error(str(key, ": ", name, ": was not rounded in training"));
  return static_cast<size_t>(found - values.begin());
}

BatchNormConstants NormBehind::constants() const {
  const auto host = [](const Parameter& p) { return p.value().to(Device{}); };
  return {
      .weight = host(weight), .bias = host(bias), .mean = host(mean), .var = host(var), .eps = eps};
}

std::vector<std::string> real_layers(const Graph& graph, const QuantChoice& choice,
                                     const std::string& key, const QuantTargets* trained) {
  const std::map<int, Product> products = products_of(graph);
  const std::vector<char> wanted = named(products, choice.layers, key + ".layers"),
                          skipped = named(products, choice.skip, key + ".skip");
  std::vector<std::string> real;
  size_t i = 0;
  for (const auto& [node, product] : products) {
    const std::string& path = product.path;
    const auto is_trained = [&path](const QuantLayer& layer) { return layer.path == path; };
    const bool is_new = trained != nullptr && std::ranges::none_of(trained->layers, is_trained);
    if (wanted[i] == 0 || skipped[i] != 0 || is_new) real.push_back(path);
    ++i;
  }
  return real;
}

QuantTargets quant_targets(Network& network, const QuantChoice& choice, const std::string& key) {
  LaidOutTargets all(network, choice, key);
  QuantTargets targets{.layers = {}, .values = std::move(all.values)};
  std::set<const void*> seen;  // a module that runs twice has one weight
  for (QuantLayer& layer : all.layers) {
    targets.readers.push_back({.layer = layer.path, .value = layer.value});
    if (seen.insert(layer.weight.id()).second) targets.layers.push_back(std::move(layer));
  }
  return targets;
}

RoundedWeight rounded_weight(const Tensor& codes, const Tensor& scale,
                             const std::optional<NormBehind>& norm) {
  const auto outputs = static_cast<size_t>(codes.dim(0));
  std::vector<double> q = codes.to_vector(), s = scale.to_vector();
  if (s.size() == 1) s.assign(outputs, s[0]);
  if (norm) {
    const BatchNormConstants bn = norm->constants();
    const std::vector<double> gamma = bn.weight.to_vector(), var = bn.var.to_vector();
    const size_t taps = q.size() / outputs;
    for (size_t o = 0; o < outputs; ++o) {
      const double a = gamma[o] / std::sqrt(var[o] + bn.eps);
      s[o] = static_cast<double>(static_cast<float>(s[o] * std::abs(a)));
      for (size_t k = 0; a < 0 && k < taps; ++k) q[o * taps + k] *= -1;
      // Nothing passes a channel that is multiplied with 0: any scale will do.
      if (std::isnormal(static_cast<float>(s[o]))) continue;
      s[o] = 1;
      for (size_t k = 0; k < taps; ++k) q[o * taps + k] = 0;
    }
  }
  Quantizer quantizer = byte_quantizer(s);
  Tensor weight = quantizer.reals(from_values(codes.shape(), q, DType::i8));
  return {.weight = std::move(weight), .quantizer = std::move(quantizer)};
}

Quantization trained_quantization(
    Network& network, const QuantChoice& choice, const std::string& key,
    const QuantTargets& trained,
    const std::function<RoundedWeight(const QuantLayer&, const FoldedLayer&)>& weight,
    const std::function<QuantizedType(const QuantValue&)>& value) {
  LaidOutTargets all(network, choice, key, &trained);
  Quantization q;
  for (size_t i = 0; i < all.layers.size(); ++i) {
    const Int8LayerNodes& nodes = all.layout.layers[i];
    const FoldedLayer folded = folded_layer(all.graph, nodes);
    RoundedWeight rounded = weight(all.layers[i], folded);
    q.layers.push_back({.nodes = nodes,
                        .weight_path = all.layers[i].weight.path(),
                        .weight = rounded.weight.reshape(folded.weight.shape()),
                        .bias = folded.bias,
                        .quantizer = std::move(rounded.quantizer)});
  }
  for (size_t i = 0; i < all.values.size(); ++i) {
    const QuantizedType type = value(all.values[i]);
    for (const int member : all.layout.groups[i].values) q.values[member] = type;
  }
  q.places = std::move(all.places);
  return q;
}

}  // namespace vtrain
