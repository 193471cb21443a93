#pragma once

#include <vector>

#include "compress/deploy/plan_step.h"

namespace vtrain {

/// What a plan has to compute: the part of a graph that leads to the logits, in a form that may be
/// rewritten. Nodes stand in order of computation; what is the same for every batch has no node.
struct PlanGraph {
  explicit PlanGraph(const Graph& graph);

  std::vector<Graph::Node> nodes;
  PlanValues values;
  int images, logits;

  PlanValue& value(int v) { return values[static_cast<size_t>(v)]; }
  const PlanValue& value(int v) const { return values[static_cast<size_t>(v)]; }
  int add_value(PlanValue value);  // its number
  /// By value: the nodes that read it; one that reads it twice stands there twice.
  std::vector<std::vector<int>> readers() const;
};

/// Computes only what is read: where every reader of a value takes a slice of it, and the value is
/// made row by row, the slice moves in front of what makes it. Of a transformer's last block only
/// the class token's row is computed behind the attention.
void narrow(PlanGraph& graph);

/// Patches as an image in channels-last order has them, (y, x, c) instead of (c, y, x), so that
/// rows are copied in runs; the weights that read them are turned once. The op is then called
/// "patchify_yxc".
void turn_patches(PlanGraph& graph);

}  // namespace vtrain
