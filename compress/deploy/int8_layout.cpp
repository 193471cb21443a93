#include "compress/deploy/int8_layout.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "compress/parts/path_glob.h"

namespace vtrain {
namespace {

bool is_one_of(const std::string& name, std::initializer_list<const char*> names) {
  return std::ranges::any_of(names, [&](const char* each) { return name == each; });
}

/// Ops that move or pick elements of their first input, or add zeros.
bool keeps_codes(const std::string& op) {
  return is_one_of(op, {"reshape", "transpose", "slice", "subsample", "pad_channels", "patchify",
                        "max_pool2d", "adaptive_max_pool2d", "channel_shuffle"});
}
/// These round again, to codes of the same scale.
bool averages(const std::string& op) {
  return is_one_of(op, {"average_pool2d", "adaptive_average_pool2d"});
}
bool lies_askew(const std::string& op) {
  return is_one_of(op, {"gelu", "gelu_tanh", "silu", "hard_swish"});
}

/// Finds layers and groups of one graph.
class Int8LayoutMaker {
 public:
  explicit Int8LayoutMaker(const Graph& graph) : graph_(graph), parents_(graph.values().size()) {
    std::iota(parents_.begin(), parents_.end(), 0);
  }

  Int8Layout make(const std::vector<std::string>& skip) {
    find_layers(skip);
    take_sums();
    for (Int8LayerNodes& layer : layers_) {
      if (layer.activation < 0) take_activation(layer);
    }
    for (const Int8LayerNodes& layer : layers_) {
      require(layer.input);
      if (layer.shortcut >= 0) require(layer.shortcut);
      if (node(layer.product).op.name == "conv2d" && is_pooled(layer.output)) require(layer.output);
    }
    return {std::move(layers_), groups()};
  }

 private:
  const Graph::Node& node(int index) const { return graph_.nodes()[static_cast<size_t>(index)]; }
  const Graph::Node* producer(int value) const {
    const int index = graph_.value(value).producer;
    return index < 0 ? nullptr : &node(index);
  }
  /// The node that alone reads `value`, if it is a `name`; else -1.
  int only_reader(int value, std::initializer_list<const char*> names) const {
    const std::vector<int>& readers = graph_.readers(value);
    if (readers.size() != 1 || value == graph_.logits() ||
        std::ranges::any_of(graph_.heads(), [&](const auto& h) { return h.second == value; }))
      return -1;
    return is_one_of(node(readers[0]).op.name, names) ? readers[0] : -1;
  }

  void find_layers(const std::vector<std::string>& skip) {
    std::vector<int> products;
    std::vector<std::string> paths;
    for (size_t i = 0; i < graph_.nodes().size(); ++i) {
      const Graph::Node& n = graph_.nodes()[i];
      if (!is_one_of(n.op.name, {"conv2d", "linear"}) || graph_.is_constant(n.inputs[0]) ||
          !graph_.is_constant(n.inputs[1]))
        continue;
      products.push_back(static_cast<int>(i));
      paths.push_back(Graph::module_of(n));
    }
    const std::vector<char> is_skipped = matched_by(skip, paths, "skip");
    auto skipped = is_skipped.begin();
    for (const int product : products) {
      if (*skipped++ != 0) continue;
      const Graph::Node& n = node(product);
      Int8LayerNodes layer{.path = Graph::module_of(n),
                           .product = product,
                           .input = n.inputs[0],
                           .output = n.output};
      take_batch_norm(layer);
      layers_.push_back(layer);
    }
  }

  void take_batch_norm(Int8LayerNodes& layer) const {
    const int reader = only_reader(layer.output, {"batch_norm"});
    if (reader < 0 || node(reader).inputs[0] != layer.output ||
        attribute(node(reader), "is_training") != 0 || attribute(node(reader), "activation") != 0 ||
        node(reader).inputs[3] >= 0)
      return;
    layer.batch_norm = reader;
    layer.output = node(reader).output;
  }

  /// Layers in reverse order: the later of two branches comes first.
  void take_sums() {
    std::set<int> taken;
    for (size_t i = layers_.size(); i-- > 0;) {
      Int8LayerNodes& layer = layers_[i];
      if (node(layer.product).op.name != "conv2d") continue;
      const int reader = only_reader(layer.output, {"add"});
      if (reader < 0 || taken.contains(reader)) continue;
      const Graph::Node& sum = node(reader);
      const int other = sum.inputs[0] == layer.output ? sum.inputs[1] : sum.inputs[0];
      if (graph_.is_constant(other) || graph_.shape(other, 2) != graph_.shape(sum.output, 2))
        continue;
      taken.insert(reader);
      layer.add = reader;
      layer.shortcut = other;
      layer.output = sum.output;
      take_activation(layer);
    }
  }

  void take_activation(Int8LayerNodes& layer) const {
    const int reader = only_reader(layer.output, {"relu", "relu6"});
    if (reader < 0) return;
    layer.activation = reader;
    layer.output = node(reader).output;
  }

  /// Images and what layers of images make of them: worth to be moved as codes. Tokens are rounded
  /// where a layer reads them, as their ranges differ from place to place.
  bool is_image(int value) const { return graph_.value(value).shape.size() == 4; }

  /// An op on codes that looks at neighbours reads it, at last.
  bool is_pooled(int value) const {
    return std::ranges::any_of(graph_.readers(value), [&](int reader) {
      const std::string& op = node(reader).op.name;
      return op == "sum" || averages(op) || is_one_of(op, {"max_pool2d", "adaptive_max_pool2d"}) ||
             (keeps_codes(op) && is_pooled(node(reader).output));
    });
  }

  int root(int value) const {
    while (parents_[static_cast<size_t>(value)] != value)
      value = parents_[static_cast<size_t>(value)];
    return value;
  }

  /// `value` comes as codes; where it is rounded to them is found here.
  void require(int value) {
    if (!required_.insert(value).second) return;
    const Graph::Node* const made = producer(value);
    const std::string op = made == nullptr ? "" : made->op.name;
    const bool is_moved = (keeps_codes(op) || averages(op) || op == "concat") &&
                          std::ranges::all_of(made->inputs, [&](int v) { return is_image(v); });
    if (!is_moved) {
      sources_.push_back(value);
      return;
    }
    if (averages(op)) sources_.push_back(value);
    for (const int input : made->inputs) {
      parents_[static_cast<size_t>(root(input))] = root(value);
      require(input);
    }
  }

  bool is_never_negative(int value) const {
    const Graph::Node* const made = producer(value);
    if (made == nullptr) return false;
    const std::string& op = made->op.name;
    if (is_one_of(op, {"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "exp", "square"}))
      return true;
    if (keeps_codes(op) || averages(op) || op == "sum") return is_never_negative(made->inputs[0]);
    if (op == "multiply_scalar")
      return attribute(*made, "value") > 0 && is_never_negative(made->inputs[0]);
    if (op == "concat" || op == "add")
      return std::ranges::all_of(made->inputs, [&](int v) { return is_never_negative(v); });
    return false;
  }

  std::vector<ScaleGroup> groups() const {
    std::map<int, ScaleGroup> by_root;
    for (const int value : required_) by_root[root(value)].values.push_back(value);
    for (const int value : sources_) by_root[root(value)].sources.push_back(value);
    std::vector<ScaleGroup> all;
    for (auto& entry : by_root) {
      ScaleGroup& group = entry.second;
      const auto every = [&](const auto& holds) {
        return std::ranges::all_of(group.sources, holds);
      };
      if (every([&](int v) { return is_never_negative(v); })) {
        group.scheme = CodeScheme::kUnsigned;
      } else if (every([&](int v) {
                   const Graph::Node* const made = producer(v);
                   return made != nullptr && lies_askew(made->op.name);
                 })) {
        group.scheme = CodeScheme::kAffine;
      }
      std::ranges::sort(group.sources);
      all.push_back(std::move(group));
    }
    std::ranges::sort(all, {}, [](const ScaleGroup& g) { return g.values.front(); });
    return all;
  }

  const Graph& graph_;
  std::vector<Int8LayerNodes> layers_;
  std::vector<int> parents_;  // by value: union-find of what shares a scale
  std::set<int> required_;
  std::vector<int> sources_;
};

}  // namespace

Int8Layout int8_layout(const Graph& graph, const std::vector<std::string>& skip) {
  return Int8LayoutMaker(graph).make(skip);
}

}  // namespace vtrain
