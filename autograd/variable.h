#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace vtrain {

class Variable;

/// What an op was: its name and attributes serve the trace, its multiply-adds the cost tables.
struct Op {
  std::string name;
  std::vector<std::pair<std::string, double>> attributes = {};
  int64_t macs =
      0;  // multiply-adds of this call; bias, normalisation, activation and softmax count 0
  bool takes_wide_gradient = false;  // see GradFunction
};

/// One gradient per input, in order; undefined where an input needs none.
using Grads = std::vector<Tensor>;
/// From the gradient of the result to those of the inputs. The gradient of a bf16 value may come
/// in f32, where a kernel sums it that wide; dy has the dtype of the result all the same, unless
/// the op takes the wide one.
using GradFunction = std::function<Grads(const Tensor& dy)>;

/// A value and how it came about: the tape. Copies are handles on one node.
///
/// Ops on Variables compute at once. If an input needs a gradient, the result remembers its inputs
/// and a gradient function, and `backward` walks them in reverse; otherwise nothing is kept. So a
/// forward pass on constants costs no memory. The tape itself keeps no values: what a gradient
/// function needs, it saves.
class Variable {
 public:
  Variable() = default;                // undefined
  Variable(Tensor value);              // NOLINT(google-explicit-constructor): a constant
  static Variable leaf(Tensor value);  // asks for a gradient
  static Variable from(Op op, Tensor value, std::vector<Variable> inputs, GradFunction grad);

  bool defined() const { return node_ != nullptr; }
  bool requires_grad() const;
  const Tensor& value() const;  // throws if undefined
  const Shape& shape() const { return value().shape(); }
  int64_t dim(int i) const { return value().dim(i); }
  int ndim() const { return value().ndim(); }

  /// Of a leaf, after backward: accumulated until cleared; undefined before the first.
  const Tensor& grad() const;
  Tensor& grad();
  void clear_grad();
  Variable detach() const;  // the same value as a constant

  /// Says how to compute the value again, bit for bit, from what the op's gradient function keeps
  /// anyway. Who saves the value then saves this instead: backward pays the computation, and the
  /// value's memory is free in between. For what costs little beside its size. Ignored for a
  /// constant. `depth`: how many values one call computes in a row, this one included, where it
  /// starts from others that are computed again.
  void set_again(std::function<Tensor()> again, int depth = 1);
  int again_depth() const;  // 0: who saves the value keeps it

  /// Identity of the value in a trace.
  const void* id() const { return node_.get(); }

 private:
  friend class Saved;
  struct Node;
  friend void backward(const Variable& output, const Tensor& seed);
  Tensor value_;
  std::shared_ptr<Node> node_;
};

/// Adds d output / d leaf to the grad of every leaf that output depends on. `seed` is d output (1
/// for the one-element loss of the first form). Gradient functions and saved values are freed on
/// the way: a graph is walked once. Throws ShapeError if a loss has more than one element, Error if
/// part of the graph was walked before.
void backward(const Variable& loss);
void backward(const Variable& output, const Tensor& seed);

/// A value kept for backward; get() refuses one that was edited in place meanwhile, which would
/// give a silently wrong gradient.
class Saved {
 public:
  Saved(const Tensor& value)  // NOLINT(google-explicit-constructor)
      : value_(value), version_(value.defined() ? value.version() : 0) {}
  /// The way to compute it where it has one (Variable::set_again), else its value.
  Saved(const Variable& value);  // NOLINT(google-explicit-constructor)
  bool defined() const { return value_.defined() || again_; }
  Tensor get() const;

 private:
  Tensor value_;
  uint64_t version_ = 0;
  std::shared_ptr<const std::function<Tensor()>> again_;
};

}  // namespace vtrain
