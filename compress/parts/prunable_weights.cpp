#include "compress/parts/prunable_weights.h"

#include <set>

#include "compress/parts/path_glob.h"
#include "nn/graph.h"

namespace vtrain {
namespace {

/// "features.4" of "features.4.weight".
std::string layer_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

/// Weights of convolutions that are not depthwise and of linear layers, each once.
std::vector<PrunableWeight> candidates(Network& network) {
  const Graph graph(network);
  std::vector<PrunableWeight> found;
  std::set<std::string> seen;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.op.name != "conv2d" && node.op.name != "linear") continue;
    const std::string& path = graph.value(node.inputs[1]).parameter;
    if (path.empty() || !seen.insert(path).second) continue;
    Parameter weight = network.parameter(path);
    const bool is_depthwise =
        node.op.name == "conv2d" && integer(node, "groups") > 1 && weight.value().dim(1) == 1;
    if (!is_depthwise) found.push_back({layer_of(path), std::move(weight)});
  }
  return found;
}

}  // namespace

WeightChoice read_weight_choice(Recipe& r) {
  WeightChoice choice;
  choice.layers = r.texts("layers", {"*"}, "layers whose weights may go, * stands for anything");
  choice.skip = r.texts("skip", {}, "layers that stay whole");
  choice.has_first = r.choice("first_layer", "keep", {"keep", "prune"},
                              "whether the layer that sees the images is pruned too") == "prune";
  return choice;
}

std::vector<PrunableWeight> prunable_weights(Network& network, const WeightChoice& choice,
                                             const std::string& key) {
  const std::vector<PrunableWeight> all = candidates(network);
  std::vector<std::string> names;
  for (const PrunableWeight& w : all) names.push_back(w.layer);
  const std::vector<char> wanted = matched_by(choice.layers, names, key + ".layers"),
                          skipped = matched_by(choice.skip, names, key + ".skip");
  std::vector<PrunableWeight> result;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool is_first = i == 0 && !choice.has_first;
    if (wanted[i] == 0 || skipped[i] != 0 || is_first) continue;
    PrunableWeight weight = all[i];
    while (!matches_glob(choice.layers[static_cast<size_t>(weight.glob)], weight.layer))
      ++weight.glob;
    result.push_back(std::move(weight));
  }
  if (result.empty()) {
    throw RecipeError(str(key, ": layers, skip and first_layer leave no weights of ",
                          network.architecture().model, " to prune"));
  }
  return result;
}

std::vector<Parameter> parameters_of(const std::vector<PrunableWeight>& weights) {
  std::vector<Parameter> parameters;
  for (const PrunableWeight& w : weights) parameters.push_back(w.weight);
  return parameters;
}

}  // namespace vtrain
