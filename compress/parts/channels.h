#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "nn/graph.h"

namespace vtrain {

/// How channels of grouped convolutions and heads of attention are cut together.
enum class GroupedCut {
  kAligned,  // the same positions of every group or head: their sizes shrink, their number stays
  kWhole,    // whole groups and heads: their number shrinks, their sizes stay
};

/// Which value channels of heads are bound together under kAligned, by the module of the attention:
/// entry h * v_dim + k is the position in head h of its k-th channel, and the k-th of all heads can
/// only be cut together. A module that is not named binds equal positions.
using HeadOrders = std::map<std::string, std::vector<int64_t>>;

/// Labels, one per channel along an axis: equal labels, after `unify`, can only be cut together.
/// Empty: the axis is not followed.
using ChannelLabels = std::vector<int>;

/// Follows the channels of a network through its graph: an op creates labels, hands them on,
/// permutes or unifies them. What no rule follows is pinned and never cut, so that an op without
/// a rule costs freedom and not correctness. The rules are registered by the op's name.
class Channels {
 public:
  Channels(Network& network, const Graph& graph, GroupedCut grouped, HeadOrders orders = {});

  const Graph& graph() const { return graph_; }
  GroupedCut grouped() const { return grouped_; }
  const HeadOrders& head_orders() const { return orders_; }

  const ChannelLabels& of(int value, int axis) const;
  void set(int value, int axis, ChannelLabels labels);
  ChannelLabels fresh(size_t count);
  /// Pairwise. Where one side is not followed, the other is pinned.
  void unify(const ChannelLabels& a, const ChannelLabels& b);
  void pin(const ChannelLabels& labels);
  void pin_value(int value);  // every axis
  /// A sum of branches carries these; a layer norm computes statistics over those.
  void mark_residual(const ChannelLabels& labels);
  void mark_normalised(const ChannelLabels& labels);

  /// From now on the number of kept labels of `counted` is what the node's module calls
  /// `attribute` (Module::structure). If it does not call it so, it cannot change: `affected` are
  /// pinned.
  void adapt(const Graph::Node& node, const std::string& attribute, const ChannelLabels& counted,
             const ChannelLabels& affected);
  /// Multiply-adds of one image: `macs` now, proportional to the kept count of each axis.
  void cost(int64_t macs, std::vector<ChannelLabels> axes);

  struct Adaptation {
    std::string module, attribute;
    ChannelLabels counted;
  };
  struct Cost {
    double coefficient;
    std::vector<ChannelLabels> axes;
  };
  const std::vector<Adaptation>& adaptations() const { return adaptations_; }
  const std::vector<Cost>& costs() const { return costs_; }
  int64_t fixed_macs() const { return fixed_macs_; }  // of ops that no cut changes

  /// The representative of a label.
  int root(int label) const;
  bool is_pinned(int label) const { return is_pinned_[static_cast<size_t>(root(label))] != 0; }
  bool is_residual(int label) const { return is_residual_[static_cast<size_t>(root(label))] != 0; }
  bool is_normalised(int label) const {
    return is_normalised_[static_cast<size_t>(root(label))] != 0;
  }
  int label_count() const { return static_cast<int>(parent_.size()); }

 private:
  void label_parameters();
  void walk();
  void join(int a, int b);

  Network& network_;
  const Graph& graph_;
  GroupedCut grouped_;
  HeadOrders orders_;
  std::vector<std::vector<ChannelLabels>> labels_;  // by value and axis
  mutable std::vector<int> parent_;
  std::vector<char> is_pinned_, is_residual_, is_normalised_;  // by representative
  std::vector<Adaptation> adaptations_;
  std::vector<Cost> costs_;
  int64_t fixed_macs_ = 0;
};

/// What an op does to channels. Registered once per op name, beside the others in
/// channel_rules.cpp or in a file of its own.
class RegisteredChannelRule {
 public:
  using Rule = std::function<void(Channels&, const Graph::Node&)>;
  RegisteredChannelRule(const std::vector<std::string>& ops, const Rule& rule);
};

}  // namespace vtrain
