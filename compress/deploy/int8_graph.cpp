#include "compress/deploy/int8_graph.h"

#include <algorithm>
#include <map>
#include <set>

namespace vtrain {
namespace {

/// Goes through the nodes once, in order, and writes them anew.
class CodeRewriter {
 public:
  CodeRewriter(PlanGraph& graph, const Graph& source, const Quantization& quantization)
      : graph_(graph), source_(source), q_(quantization) {
    for (const QuantizedLayer& layer : q_.layers) {
      products_[output_of(layer, layer.nodes.product)] = &layer;
      for (const int taken : {layer.nodes.batch_norm, layer.nodes.add, layer.nodes.activation}) {
        if (taken >= 0) taken_[output_of(layer, taken)] = &layer;
      }
    }
  }

  void run() {
    const std::vector<Graph::Node> nodes = std::move(graph_.nodes);
    readers_of_ = readers(nodes);
    if (is_kept_as_codes(graph_.images)) quantize(graph_.images, "/images");
    for (const Graph::Node& node : nodes) {
      if (const auto product = products_.find(node.output); product != products_.end()) {
        add_product(node, *product->second);
      } else if (const auto layer = taken_.find(node.output); layer != taken_.end()) {
        add_taken(node, *layer->second);
      } else if (moves_codes(node)) {
        add_move(node);
      } else if (sums_images_of_codes(node)) {
        Graph::Node sum = node;
        sum.op.name = "int8_sum";
        sum.inputs[0] = codes_.at(node.inputs[0]);
        add(sum);
      } else {
        add_real(node);
      }
    }
    if (is_codes(graph_.logits))
      throw Error("deploy: expected logits that are real, got some that are kept as codes");
  }

 private:
  int output_of(const QuantizedLayer& layer, int node) const {
    if (node < 0 || static_cast<size_t>(node) >= source_.nodes().size())
      throw Error(str("deploy: layer ", layer.nodes.path,
                      ": expected the quantization of this network, got another's"));
    return source_.nodes()[static_cast<size_t>(node)].output;
  }
  std::vector<std::vector<const Graph::Node*>> readers(
      const std::vector<Graph::Node>& nodes) const {
    std::vector<std::vector<const Graph::Node*>> all(graph_.values.size());
    for (const Graph::Node& node : nodes) {
      for (const int v : node.inputs) {
        if (v >= 0) all[static_cast<size_t>(v)].push_back(&node);
      }
    }
    return all;
  }
  bool is_kept_as_codes(int v) const { return q_.values.contains(v); }
  bool is_codes(int v) const { return graph_.value(v).codes.has_value(); }
  void add(const Graph::Node& node) { graph_.nodes.push_back(node); }

  /// The value holds the codes of `type` from now on.
  void become_codes(int v) {
    PlanValue& value = graph_.value(v);
    value.codes = q_.values.at(v);
    value.dtype = value.codes->dtype();
    codes_[v] = v;
  }

  void quantize(int v, const std::string& scope) {
    PlanValue codes = graph_.value(v);
    codes.codes = q_.values.at(v);
    codes.dtype = codes.codes->dtype();
    codes.is_output = false;
    const int to = graph_.add_value(std::move(codes));
    add({.op = {"quantize"}, .scope = scope + ":codes", .inputs = {v}, .output = to});
    codes_[v] = to;
  }

  /// What an op that computes with reals reads in place of `v`.
  int reals(int v) {
    const auto codes = v < 0 ? codes_.end() : codes_.find(v);
    if (codes == codes_.end()) return v;
    const auto known = reals_.find(v);
    if (known != reals_.end()) return known->second;
    PlanValue value = graph_.value(v);
    value.codes.reset();
    value.dtype = DType::f32;
    const int to = graph_.add_value(std::move(value));
    const int producer = source_.value(v).producer;
    const std::string scope =
        producer < 0 ? "/images" : source_.nodes()[static_cast<size_t>(producer)].scope;
    add({.op = {"dequantize"}, .scope = scope + ":reals", .inputs = {codes->second}, .output = to});
    return reals_[v] = to;
  }

  void add_product(Graph::Node node, const QuantizedLayer& layer) {
    const auto input = codes_.find(layer.nodes.input);
    if (input == codes_.end() || node.inputs[0] != layer.nodes.input)
      throw Error(str("deploy: layer ", layer.nodes.path,
                      ": expected an input that is kept as codes, got ", name_of(DType::f32)));
    const auto constant = [&](const Tensor& t) {
      return t.defined() ? graph_.add_value({.shape = t.shape(),
                                             .grows = Shape(t.shape().size(), 0),
                                             .dtype = t.dtype(),
                                             .constant = t})
                         : -1;
    };
    node.op.name = "int8_" + node.op.name;
    node.inputs = {input->second, constant(layer.quantizer.codes(layer.weight)),
                   constant(layer.quantizer.scale()), constant(layer.bias)};
    add(node);
    if (layer.nodes.output == node.output) end_layer(node.output);
  }

  void add_taken(Graph::Node node, const QuantizedLayer& layer) {
    const int shortcut = node.op.name == "add" ? layer.nodes.shortcut : -1;
    const int own = node.inputs[0] == shortcut ? node.inputs[1] : node.inputs[0];
    node.op.name = "int8_" + node.op.name;
    node.inputs = {own};
    if (shortcut >= 0) {  // beside a result in reals it has to be real
      const bool gives_codes = is_kept_as_codes(layer.nodes.output);
      node.inputs.push_back(gives_codes ? codes_.at(shortcut) : reals(shortcut));
    }
    add(node);
    if (layer.nodes.output == node.output) end_layer(node.output);
  }
  void end_layer(int output) {
    if (is_kept_as_codes(output)) become_codes(output);
  }

  /// An op that moves or picks codes of one scale, and whose kernel can.
  bool moves_codes(const Graph::Node& node) const {
    static const std::set<std::string> kMoves = {
        "max_pool2d", "adaptive_max_pool2d", "reshape",  "transpose", "slice", "subsample",
        "concat",     "pad_channels",        "patchify",
    };
    if (!kMoves.contains(node.op.name) || !is_kept_as_codes(node.output)) return false;
    const QuantizedType& type = q_.values.at(node.output);
    if (node.op.name == "pad_channels" && type.range.zero_point != 0) return false;
    if (node.op.name == "patchify" && !feeds_one_linear(node.output)) return false;
    return std::ranges::all_of(node.inputs, [&](int v) {
      return v >= 0 && codes_.contains(v) && q_.values.at(v) == type;
    });
  }
  /// Then turn_patches makes it an op that moves bytes.
  bool feeds_one_linear(int v) const {
    const auto& readers = readers_of_[static_cast<size_t>(v)];
    return readers.size() == 1 && readers[0]->op.name == "linear" &&
           products_.contains(readers[0]->output);
  }
  void add_move(Graph::Node node) {
    if (node.op.name.ends_with("max_pool2d")) node.op.name = "int8_" + node.op.name;
    for (int& v : node.inputs) v = codes_.at(v);
    become_codes(node.output);
    add(node);
  }

  bool sums_images_of_codes(const Graph::Node& node) const {
    if (node.op.name != "sum" || !codes_.contains(node.inputs[0])) return false;
    std::vector<int64_t> axes;
    for (const auto& [name, axis] : node.op.attributes) {
      if (name.starts_with("axis_")) axes.push_back(static_cast<int64_t>(axis));
    }
    return graph_.value(node.inputs[0]).shape.size() == 4 && axes == std::vector<int64_t>{2, 3} &&
           !is_kept_as_codes(node.output);
  }

  void add_real(Graph::Node node) {
    for (int& v : node.inputs) v = reals(v);
    add(node);
    if (is_kept_as_codes(node.output)) quantize(node.output, node.scope);
  }

  PlanGraph& graph_;
  const Graph& source_;
  const Quantization& q_;
  std::map<int, const QuantizedLayer*> products_, taken_;  // by the value that the node makes
  std::map<int, int> codes_, reals_;  // where a value of the network's graph is kept as such
  std::vector<std::vector<const Graph::Node*>> readers_of_;
};

}  // namespace

void put_on_codes(PlanGraph& graph, const Graph& source, const Quantization& quantization) {
  CodeRewriter(graph, source, quantization).run();
}

}  // namespace vtrain
