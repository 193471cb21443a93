#include "compress/deploy/plan_graph.h"

#include <algorithm>
#include <map>
#include <set>

namespace vtrain {
namespace {

/// Nodes that the logits are computed from: heads that nobody asks for are left out.
std::vector<char> needed_nodes(const Graph& graph) {
  std::vector<char> needed(graph.nodes().size(), 0);
  std::vector<int> open{graph.logits()};
  while (!open.empty()) {
    const int producer = graph.value(open.back()).producer;
    open.pop_back();
    if (producer < 0 || needed[static_cast<size_t>(producer)] != 0) continue;
    needed[static_cast<size_t>(producer)] = 1;
    for (const int v : graph.nodes()[static_cast<size_t>(producer)].inputs) {
      if (v >= 0) open.push_back(v);
    }
  }
  return needed;
}

}  // namespace

PlanGraph::PlanGraph(const Graph& graph) : images(graph.images()), logits(graph.logits()) {
  for (size_t i = 0; i < graph.values().size(); ++i) {
    const int v = static_cast<int>(i);
    const Graph::Value& from = graph.value(v);
    PlanValue value{.shape = from.shape, .grows = {}, .dtype = from.dtype};
    for (size_t axis = 0; axis < from.shape.size(); ++axis)
      value.grows.push_back(graph.grows_with_batch(v, static_cast<int>(axis)) ? 1 : 0);
    value.is_channels_last = graph.tensor(v).is_channels_last();
    if (graph.is_constant(v)) value.constant = graph.tensor(v);
    values.push_back(std::move(value));
  }
  value(logits).is_output = true;
  const std::vector<char> needed = needed_nodes(graph);
  for (size_t n = 0; n < needed.size(); ++n) {
    const Graph::Node& node = graph.nodes()[n];
    if (needed[n] != 0 && !graph.is_constant(node.output)) nodes.push_back(node);
  }
}

int PlanGraph::add_value(PlanValue value) {
  values.push_back(std::move(value));
  return static_cast<int>(values.size()) - 1;
}

std::vector<std::vector<int>> PlanGraph::readers() const {
  std::vector<std::vector<int>> all(values.size());
  for (size_t n = 0; n < nodes.size(); ++n) {
    for (const int v : nodes[n].inputs) {
      if (v >= 0) all[static_cast<size_t>(v)].push_back(static_cast<int>(n));
    }
  }
  return all;
}

namespace {

struct RowRange {
  int axis = -1;
  int64_t begin = 0, end = 0;
};

void set_attribute(Graph::Node& node, std::string_view name, int64_t value) {
  for (auto& [own, number] : node.op.attributes) {
    if (own == name) number = static_cast<double>(value);
  }
}

/// The part of a value that its readers see if all of them take slices along one axis; else, and
/// where that is all of it, an axis of -1.
RowRange seen_part(const PlanGraph& graph, const std::vector<int>& readers, int v) {
  const PlanValue& value = graph.value(v);
  RowRange seen;
  for (const int n : readers) {
    const Graph::Node& node = graph.nodes[static_cast<size_t>(n)];
    if (node.op.name != "slice") return {};
    const int axis = checked_dim("slice", static_cast<int>(integer(node, "axis")), value.shape);
    if (seen.axis >= 0 && axis != seen.axis) return {};
    const int64_t begin = integer(node, "begin"), end = integer(node, "end");
    seen = seen.axis < 0 ? RowRange{axis, begin, end}
                         : RowRange{axis, std::min(seen.begin, begin), std::max(seen.end, end)};
  }
  if (seen.axis < 0 || value.is_output || value.grows[static_cast<size_t>(seen.axis)] != 0 ||
      seen.end - seen.begin == value.shape[static_cast<size_t>(seen.axis)])
    return {};
  return seen;
}

/// An op on the last axis whose other inputs are the same for every row.
bool is_product_of_rows(const Graph::Node& node) {
  return node.op.name == "layer_norm" || node.op.name == "linear" || node.op.name == "int8_linear";
}

/// Whether a row of the result along `axis` follows from the same row of each input.
bool works_by_rows(const PlanGraph& graph, const Graph::Node& node, int axis) {
  static const std::set<std::string> kElementwise = {
      "add",       "subtract",   "multiply",     "divide",     "add_scalar", "multiply_scalar",
      "relu",      "relu6",      "gelu",         "gelu_tanh",  "silu",       "sigmoid",
      "tanh",      "hard_swish", "hard_sigmoid", "leaky_relu", "cast",       "quantize",
      "dequantize"};
  const PlanValue& y = graph.value(node.output);
  if (is_product_of_rows(node)) {
    return axis + 1 < static_cast<int>(y.shape.size()) &&
           !graph.value(node.inputs[0]).constant.defined();
  }
  if (!kElementwise.contains(node.op.name)) return false;
  return std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) {
    const PlanValue& x = graph.value(v);
    return x.shape == y.shape && (x.constant.defined() || x.grows == y.grows);
  });
}

/// `node` computes rows [begin, end) only; slices of its inputs go in front of it.
std::vector<Graph::Node> narrowed(PlanGraph& graph, Graph::Node node, const RowRange& part) {
  std::vector<Graph::Node> result;
  const auto axis = static_cast<size_t>(part.axis);
  const bool is_elementwise = !is_product_of_rows(node);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    int& v = node.inputs[i];
    if (v < 0 || (i > 0 && !is_elementwise)) continue;
    PlanValue value = graph.value(v);
    value.shape[axis] = part.end - part.begin;
    value.is_output = false;
    if (value.constant.defined()) {
      value.constant = value.constant.slice(part.axis, part.begin, part.end);
      v = graph.add_value(std::move(value));
      continue;
    }
    const int whole = v;
    v = graph.add_value(std::move(value));
    result.push_back({.op = {"slice",
                             {{"axis", part.axis},
                              {"begin", static_cast<double>(part.begin)},
                              {"end", static_cast<double>(part.end)}}},
                      .scope = Graph::module_of(node) + "/slice",
                      .inputs = {whole},
                      .output = v});
  }
  graph.value(node.output).shape[axis] = part.end - part.begin;
  result.push_back(std::move(node));
  return result;
}

/// Takes out slices that are all of their input, so that they part no product from its sum.
void drop_whole_slices(PlanGraph& graph) {
  std::map<int, int> same;  // what a dropped slice gave -> what it read
  std::vector<Graph::Node> kept;
  for (Graph::Node& node : graph.nodes) {
    for (int& v : node.inputs) {
      if (const auto found = same.find(v); found != same.end()) v = found->second;
    }
    const PlanValue& y = graph.value(node.output);
    const bool is_whole = node.op.name == "slice" && !y.is_output &&
                          y.shape == graph.value(node.inputs[0]).shape &&
                          y.grows == graph.value(node.inputs[0]).grows;
    if (is_whole) {
      same[node.output] = node.inputs[0];
    } else {
      kept.push_back(std::move(node));
    }
  }
  graph.nodes = std::move(kept);
}

}  // namespace

void narrow(PlanGraph& graph) {
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Graph::Node node = graph.nodes[n];
    const std::vector<int> readers = graph.readers()[static_cast<size_t>(node.output)];
    const RowRange part = seen_part(graph, readers, node.output);
    if (part.axis < 0 || !works_by_rows(graph, node, part.axis)) continue;
    for (const int r : readers) {
      Graph::Node& reader = graph.nodes[static_cast<size_t>(r)];
      const int64_t begin = integer(reader, "begin"), end = integer(reader, "end");
      set_attribute(reader, "begin", begin - part.begin);
      set_attribute(reader, "end", end - part.begin);
    }
    const std::vector<Graph::Node> in_place = narrowed(graph, node, part);
    const auto at = graph.nodes.begin() + static_cast<std::ptrdiff_t>(n);
    graph.nodes.insert(graph.nodes.erase(at), in_place.begin(), in_place.end());
  }
  drop_whole_slices(graph);
}

void turn_patches(PlanGraph& graph) {
  const std::vector<std::vector<int>> readers = graph.readers();
  for (Graph::Node& node : graph.nodes) {
    const std::vector<int>& of_patches = readers[static_cast<size_t>(node.output)];
    if (node.op.name != "patchify" || of_patches.size() != 1) continue;
    Graph::Node& reader = graph.nodes[static_cast<size_t>(of_patches[0])];
    const PlanValue& images = graph.value(node.inputs[0]);
    const bool is_linear = reader.op.name == "linear" || reader.op.name == "int8_linear";
    if (!is_linear || !images.is_channels_last || !graph.value(reader.inputs[1]).constant.defined())
      continue;
    PlanValue weight = graph.value(reader.inputs[1]);
    const int64_t patch = integer(node, "patch"), channels = images.shape[1], out = weight.shape[0];
    weight.constant = weight.constant.reshape({out, channels, patch * patch})
                          .transpose(1, 2)
                          .contiguous()
                          .reshape(weight.shape);
    reader.inputs[1] = graph.add_value(std::move(weight));
    node.op.name = "patchify_yxc";
    node.scope += "_yxc";  // its value is no longer the network's
  }
}

}  // namespace vtrain
