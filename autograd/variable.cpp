#include "autograd/variable.h"

#include <unordered_set>

#include "autograd/trace.h"
#include "tensor/ops/binary.h"

namespace vtrain {

struct Variable::Node {
  Shape shape;
  DType dtype = DType::f32;
  Tensor grad;
  bool requires_grad = false;
  std::vector<std::shared_ptr<Node>> inputs;  // empty for constants and leaves
  GradFunction grad_function;
  std::shared_ptr<const std::function<Tensor()>> again;
  int again_depth = 0;
  std::string op;
  bool takes_wide_gradient = false;
  bool is_walked =
      false;  // backward has freed what it needs; a second walk would silently give leaves nothing

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  /// Frees a chain of any length without recursion, also one that backward never walked.
  ~Node() {
    std::vector<std::shared_ptr<Node>> dying = std::move(inputs);
    while (!dying.empty()) {
      const std::shared_ptr<Node> node = std::move(dying.back());
      dying.pop_back();
      if (node.use_count() != 1) continue;
      for (std::shared_ptr<Node>& input : node->inputs) dying.push_back(std::move(input));
      node->inputs.clear();
    }
  }
};

Variable::Variable(Tensor value) {
  if (!value.defined()) return;
  value_ = std::move(value);
  node_ = std::make_shared<Node>();
  node_->shape = value_.shape();
  node_->dtype = value_.dtype();
}

Variable Variable::leaf(Tensor value) {
  Variable v(std::move(value));
  v.node_->requires_grad = true;
  return v;
}

Variable Variable::from(Op op, Tensor value, std::vector<Variable> inputs, GradFunction grad) {
  Variable result(std::move(value));
  Node& node = *result.node_;
  for (const Variable& input : inputs) node.requires_grad |= input.requires_grad();
  if (Trace* const trace = Trace::active()) trace->record(op, inputs, result);
  if (node.requires_grad) {
    for (Variable& input : inputs) node.inputs.push_back(std::move(input.node_));
    node.grad_function = std::move(grad);
    node.op = std::move(op.name);
    node.takes_wide_gradient = op.takes_wide_gradient;
  }
  return result;
}

bool Variable::requires_grad() const { return node_ && node_->requires_grad; }

const Tensor& Variable::value() const {
  if (!node_) throw ShapeError("[value] the variable is undefined");
  return value_;
}
const Tensor& Variable::grad() const {
  if (!node_) throw ShapeError("[grad] the variable is undefined");
  return node_->grad;
}
Tensor& Variable::grad() {
  if (!node_) throw ShapeError("[grad] the variable is undefined");
  return node_->grad;
}
void Variable::clear_grad() {
  if (node_) node_->grad = Tensor();
}
Variable Variable::detach() const { return Variable(value_); }

void Variable::set_again(std::function<Tensor()> again, int depth) {
  if (!requires_grad()) return;
  node_->again = std::make_shared<const std::function<Tensor()>>(std::move(again));
  node_->again_depth = depth;
}
int Variable::again_depth() const { return node_ ? node_->again_depth : 0; }

void backward(const Variable& loss) {
  if (loss.value().numel() != 1)
    throw ShapeError(str("[backward] loss ", loss.shape(), ": expected one element"));
  backward(loss, ones_like(loss.value()));
}

void backward(const Variable& output, const Tensor& seed) {
  check_same_shape("backward", "output", output.value(), "seed", seed);
  if (!output.requires_grad()) return;

  // Depth first with an explicit stack: a network may be deeper than the call stack allows.
  using NodePointer = std::shared_ptr<Variable::Node>;
  std::vector<NodePointer> order;  // inputs before users
  std::unordered_set<const void*> seen{output.id()};
  std::vector<std::pair<NodePointer, size_t>> stack{{output.node_, 0}};
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (node->is_walked)
      throw Error(str("[backward] ", node->op, ": this graph was walked before"));
    if (next == node->inputs.size()) {
      order.push_back(node);
      stack.pop_back();
      continue;
    }
    const NodePointer input = node->inputs[next++];
    if (input && input->requires_grad && seen.insert(input.get()).second)
      stack.emplace_back(input, 0);
  }

  // In place only where nobody else holds the gradient: an op may give one tensor to two inputs, or
  // keep what it gives.
  const auto add_grad = [](Variable::Node& node, const Tensor& grad) {
    if (!node.grad.defined()) {
      node.grad = grad;
    } else if (node.grad.dtype() == grad.dtype() && node.grad.is_sole_owner() &&
               node.grad.is_dense()) {
      accumulate(node.grad, grad);
    } else {
      node.grad = add(node.grad, grad);  // of bf16 and f32: f32
    }
  };

  add_grad(*output.node_, seed);
  while (!order.empty()) {
    const NodePointer holder = std::move(order.back());
    order.pop_back();
    Variable::Node& node = *holder;
    if (!node.grad_function) continue;  // a leaf keeps its gradient
    // Nothing flows into a value that is read by index ops only; what lies below may still get some
    // from elsewhere.
    if (node.grad.defined() && !node.takes_wide_gradient) {
      node.grad = node.grad.to(node.dtype);
    }
    const Grads grads =
        node.grad.defined() ? node.grad_function(node.grad) : Grads(node.inputs.size());
    if (grads.size() != node.inputs.size()) {
      throw Error(str('[', node.op, "] backward gave ", grads.size(), " gradients for ",
                      node.inputs.size(), " inputs"));
    }
    for (size_t i = 0; i < grads.size(); ++i) {
      const NodePointer& input = node.inputs[i];
      if (!input || !input->requires_grad || !grads[i].defined()) continue;
      if (grads[i].shape() != input->shape) {
        throw ShapeError(str('[', node.op, "] gradient ", i, ' ', grads[i].shape(), ": expected ",
                             input->shape));
      }
      add_grad(*input, grads[i]);
    }
    node.grad = Tensor();
    node.grad_function = nullptr;
    node.again = nullptr;
    node.inputs.clear();
    node.is_walked = true;
  }
}

Saved::Saved(const Variable& value) {
  if (!value.defined()) return;
  if (value.node_->again) {
    again_ = value.node_->again;
  } else {
    value_ = value.value();
    version_ = value_.version();
  }
}

Tensor Saved::get() const {
  if (again_) return (*again_)();
  if (value_.defined() && value_.version() != version_) {
    throw Error(str("[backward] a saved value ", value_.shape(),
                    " was edited in place after the forward pass"));
  }
  return value_;
}

}  // namespace vtrain
