#include "compress/parts/channels.h"

#include <map>

namespace vtrain {
namespace {

std::map<std::string, RegisteredChannelRule::Rule>& rules() {
  static std::map<std::string, RegisteredChannelRule::Rule> all;
  return all;
}

}  // namespace

RegisteredChannelRule::RegisteredChannelRule(const std::vector<std::string>& ops,
                                             const Rule& rule) {
  for (const std::string& op : ops) {
    if (!rules().try_emplace(op, rule).second)
      throw Error(str("the op ", op, " has two rules for its channels"));
  }
}

Channels::Channels(Network& network, const Graph& graph, GroupedCut grouped, HeadOrders orders)
    : network_(network), graph_(graph), grouped_(grouped), orders_(std::move(orders)) {
  for (const Graph::Value& value : graph.values()) labels_.emplace_back(value.shape.size());
  label_parameters();
  walk();
  pin_value(graph.logits());
  for (const auto& [name, head] : graph.heads()) pin_value(head);
}

/// Rows and columns of weights, every axis of vectors and tables; not the taps of a kernel.
void Channels::label_parameters() {
  for (size_t v = 0; v < graph_.values().size(); ++v) {
    const Graph::Value& value = graph_.values()[v];
    if (value.parameter.empty()) continue;
    const size_t followed = value.shape.size() == 4 ? 2 : value.shape.size();
    for (size_t axis = 0; axis < followed; ++axis)
      labels_[v][axis] = fresh(static_cast<size_t>(value.shape[axis]));
  }
}

void Channels::walk() {
  for (const Graph::Node& node : graph_.nodes()) {
    const size_t costs_before = costs_.size();
    const auto rule = rules().find(node.op.name);
    if (rule != rules().end()) {
      rule->second(*this, node);
    } else {
      for (const int input : node.inputs) {
        if (input >= 0) pin_value(input);
      }
    }
    if (costs_.size() == costs_before) fixed_macs_ += node.op.macs;
  }
}

const ChannelLabels& Channels::of(int value, int axis) const {
  const auto& axes = labels_[static_cast<size_t>(value)];
  return axes[static_cast<size_t>(axis < 0 ? axis + static_cast<int>(axes.size()) : axis)];
}

void Channels::set(int value, int axis, ChannelLabels labels) {
  auto& axes = labels_[static_cast<size_t>(value)];
  axes[static_cast<size_t>(axis < 0 ? axis + static_cast<int>(axes.size()) : axis)] =
      std::move(labels);
}

ChannelLabels Channels::fresh(size_t count) {
  ChannelLabels labels(count);
  for (int& label : labels) {
    label = label_count();
    parent_.push_back(label);
    is_pinned_.push_back(0);
    is_residual_.push_back(0);
    is_normalised_.push_back(0);
  }
  return labels;
}

int Channels::root(int label) const {
  while (parent_[static_cast<size_t>(label)] != label) {
    int& parent = parent_[static_cast<size_t>(label)];
    parent = parent_[static_cast<size_t>(parent)];  // halves the path for the next who asks
    label = parent;
  }
  return label;
}

void Channels::join(int a, int b) {
  a = root(a);
  b = root(b);
  if (a == b) return;
  if (b < a) std::swap(a, b);  // the oldest represents: roots follow the order of the graph
  parent_[static_cast<size_t>(b)] = a;
  for (auto* marks : {&is_pinned_, &is_residual_, &is_normalised_})
    (*marks)[static_cast<size_t>(a)] |= (*marks)[static_cast<size_t>(b)];
}

void Channels::unify(const ChannelLabels& a, const ChannelLabels& b) {
  if (a.size() != b.size()) {
    pin(a);
    pin(b);
    return;
  }
  for (size_t i = 0; i < a.size(); ++i) join(a[i], b[i]);
}

void Channels::pin(const ChannelLabels& labels) {
  for (const int label : labels) is_pinned_[static_cast<size_t>(root(label))] = 1;
}

void Channels::pin_value(int value) {
  for (const ChannelLabels& labels : labels_[static_cast<size_t>(value)]) pin(labels);
}

void Channels::mark_residual(const ChannelLabels& labels) {
  for (const int label : labels) is_residual_[static_cast<size_t>(root(label))] = 1;
}

void Channels::mark_normalised(const ChannelLabels& labels) {
  for (const int label : labels) is_normalised_[static_cast<size_t>(root(label))] = 1;
}

void Channels::adapt(const Graph::Node& node, const std::string& attribute,
                     const ChannelLabels& counted, const ChannelLabels& affected) {
  const std::string path = Graph::module_of(node);
  if (!network_.module(path).structure().contains(attribute)) {
    pin(affected);
    return;
  }
  adaptations_.push_back({path, attribute, counted});
}

void Channels::cost(int64_t macs, std::vector<ChannelLabels> axes) {
  double coefficient = static_cast<double>(macs);
  for (const ChannelLabels& axis : axes) coefficient /= static_cast<double>(axis.size());
  costs_.push_back({coefficient, std::move(axes)});
}

}  // namespace vtrain
