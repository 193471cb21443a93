#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/trace.h"
#include "nn/network.h"

namespace vtrain {

/// What a network computes, from a trace of its evaluation with all hooks off: the one description
/// that serves counts, cuts, lowering and export. Nodes stand in the order of computation.
///
/// The trace is of one image; a second trace, of two, tells which extents grow with the batch.
class Graph {
 public:
  /// `dtype` is what layers compute in, as Pass::dtype; images come and logits leave in f32.
  /// Throws Error if the network computes other ops for two images than for one.
  explicit Graph(Network& network, DType dtype = DType::f32);

  using Node = Trace::Record;
  using Value = Trace::Value;
  const std::vector<Node>& nodes() const { return trace_.records(); }
  const std::vector<Value>& values() const { return trace_.values(); }
  const Value& value(int index) const { return values()[static_cast<size_t>(index)]; }

  int images() const { return images_; }  // the value that comes in: (N, C, H, W)
  int logits() const { return logits_; }
  const std::map<std::string, int>& heads() const { return heads_; }  // Outputs::heads

  /// The shape of a value for a batch of N images.
  Shape shape(int value, int64_t batch) const;
  bool grows_with_batch(int value, int axis) const;
  bool grows_with_batch(int value) const;  // along any axis

  /// The value is the same for every batch: a parameter, a number in the network, or computed from
  /// these alone. Then `tensor` is what it is.
  bool is_constant(int value) const { return is_constant_[static_cast<size_t>(value)]; }
  const Tensor& tensor(int value) const { return trace_.tensor(value); }

  /// The nodes that read a value, in order.
  const std::vector<int>& readers(int value) const { return readers_[static_cast<size_t>(value)]; }

  /// Multiply-adds for one image below a module path ("" = all): convolutions, linear layers and
  /// the two products of attention; bias, normalisation, activation, softmax and element-wise work
  /// count 0 (methods' helpers that stay are counted).
  int64_t macs(const std::string& path = "") const;
  int64_t params() const { return params_; }

  /// "blocks.0.attn.qkv" of scope "blocks.0.attn.qkv/linear.0".
  static std::string module_of(const Node& node);

 private:
  Trace trace_;
  int images_ = -1, logits_ = -1;
  std::map<std::string, int> heads_;
  std::vector<Shape> grows_;  // by value: 1 where an extent is a multiple of the batch
  std::vector<char> is_constant_;
  std::vector<std::vector<int>> readers_;
  int64_t params_ = 0;
};

/// An attribute of an op by name. Throws Error if the op has none of that name.
double attribute(const Graph::Node& node, std::string_view name);
int64_t integer(const Graph::Node& node, std::string_view name);

}  // namespace vtrain
