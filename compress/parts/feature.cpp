#include "compress/parts/feature.h"

#include <algorithm>

#include "compress/parts/channels.h"
#include "nn/graph.h"
#include "recipes/recipe.h"

namespace vtrain {
namespace {

/// The last value made by the module or below it; -1: none.
int output_of(const Graph& graph, const std::string& module) {
  int output = -1;
  for (const Graph::Node& node : graph.nodes()) {
    const std::string path = Graph::module_of(node);
    if (path == module || path.starts_with(module + ".")) output = node.output;
  }
  return output;
}

const Graph::Node* producer_of(const Graph& graph, int value) {
  const int producer = graph.value(value).producer;
  return producer < 0 ? nullptr : &graph.nodes()[static_cast<size_t>(producer)];
}

/// No value below 0 comes out where none goes in: pools, and what a global average is made of.
bool keeps_sign(const Op& op) {
  if (op.name == "multiply_scalar") return op.attributes.at(0).second >= 0;
  return op.name.find("pool") != std::string::npos || op.name == "transpose" ||
         op.name == "reshape" || op.name == "sum" || op.name == "cast";
}

bool is_rectified(const Graph& graph, int value) {
  for (const Graph::Node* node = producer_of(graph, value); node != nullptr;
       node = producer_of(graph, node->inputs[0])) {
    if (node->op.name.starts_with("relu")) return true;
    if (!keeps_sign(node->op)) return false;
  }
  return false;
}

void collect_parameters(const Graph& graph, int value, std::set<int>& seen,
                        std::set<std::string>& parameters) {
  if (value < 0 || !seen.insert(value).second) return;  // -1: an optional input that is not there
  if (const std::string& path = graph.value(value).parameter; !path.empty())
    parameters.insert(path);
  if (const Graph::Node* const node = producer_of(graph, value)) {
    for (const int input : node->inputs) collect_parameters(graph, input, seen, parameters);
  }
}

/// Of the parameters that a value is computed from, one with the value's channels along an axis.
std::pair<std::string, int> parameter_with_channels(Network& network, const Graph& graph, int value,
                                                    const std::set<std::string>& parameters) {
  const Channels channels(network, graph, GroupedCut::kAligned);
  const size_t rank = graph.value(value).shape.size();
  const ChannelLabels& wanted = channels.of(value, rank == 4 ? 1 : static_cast<int>(rank) - 1);
  const auto are_same = [&](int a, int b) { return channels.root(a) == channels.root(b); };
  for (size_t v = 0; v < graph.values().size() && !wanted.empty(); ++v) {
    const Graph::Value& candidate = graph.values()[v];
    if (!parameters.contains(candidate.parameter)) continue;
    for (int axis = 0; axis < static_cast<int>(candidate.shape.size()); ++axis) {
      const ChannelLabels& labels = channels.of(static_cast<int>(v), axis);
      if (std::ranges::equal(labels, wanted, are_same)) return {candidate.parameter, axis};
    }
  }
  return {};
}

Conv2dSettings shrinking(const Shape& from, const Shape& to) {
  if (from.size() != 4 || to.size() != 4) {
    throw Error(str("expected feature maps (1, C, H, W), got ", from, " for ", to));
  }
  if (from[2] < to[2] || from[3] < to[3]) {
    throw Error(str("expected a map at least as large as ", to[2], " x ", to[3],
                    ", which a convolution can shrink to it, got ", from[2], " x ", from[3]));
  }
  return {.kernel = {from[2] - to[2] + 1, from[3] - to[3] + 1}};
}

}  // namespace

Feature feature_at(Network& network, const std::string& module) {
  const std::string& model = network.architecture().model;
  if (module.empty() || !network.has_module(module)) {
    std::vector<std::string> known;
    for (const Module* const m : network.root().modules()) known.push_back(m->path());
    const std::string close = nearest(module, known);
    throw Error(str(model, " has no module ", module.empty() ? "of an empty name" : module,
                    close.empty() ? "" : str("; did you mean ", close, "?")));
  }
  const Graph graph(network);
  const int output = output_of(graph, module);
  if (output < 0) throw Error(str("module ", module, " of ", model, " computes nothing"));
  Feature feature{.place = module + ".out",
                  .shape = graph.shape(output, 1),
                  .is_rectified = is_rectified(graph, output),
                  .parameters = {},
                  .cut_with = {}};
  std::set<int> seen;
  collect_parameters(graph, output, seen, feature.parameters);
  feature.cut_with = parameter_with_channels(network, graph, output, feature.parameters);
  return feature;
}

Feature feature_at(Network& network, const std::string& module, const std::string& knob) {
  try {
    return feature_at(network, module);
  } catch (const Error& error) {
    throw RecipeError(str(knob, ": ", error.what()));
  }
}

FeatureRegressor::FeatureRegressor(const Shape& from, const Shape& to,
                                   const RegressorOptions& options)
    : conv_(from.size() > 1 ? from[1] : 0, to.size() > 1 ? to[1] : 0, shrinking(from, to)) {
  add("conv", conv_);
  if (options.has_batch_norm) add("bn", bn_.emplace(to[1]));
  if (options.has_relu) add("act", act_.emplace());
}

Variable FeatureRegressor::forward(const Variable& x, const Pass& pass) {
  Variable y = conv_(x, pass);
  if (bn_) y = (*bn_)(y, pass);
  return act_ ? (*act_)(y, pass) : y;
}

}  // namespace vtrain
