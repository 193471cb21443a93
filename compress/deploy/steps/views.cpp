// Ops that only say how memory is read: no work where strides can express the result, else a copy.
#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

/// A view of x for a result of `shape`; a copy of it where there is no view.
using ViewFunction = Tensor (*)(const Graph::Node& node, const Tensor& x, const Shape& shape);

Tensor reshaped(const Graph::Node&, const Tensor& x, const Shape& shape) {
  return x.reshape(shape);
}
Tensor transposed(const Graph::Node& node, const Tensor& x, const Shape&) {
  return x.transpose(static_cast<int>(integer(node, "a")), static_cast<int>(integer(node, "b")));
}
Tensor sliced(const Graph::Node& node, const Tensor& x, const Shape&) {
  return x.slice(static_cast<int>(integer(node, "axis")), integer(node, "begin"),
                 integer(node, "end"));
}

class ReorderCall final : public PlanCall {
 public:
  ReorderCall(Graph::Node node, ViewFunction view, Tensor x, Tensor y)
      : node_(std::move(node)), view_(view), x_(std::move(x)), y_(std::move(y)) {}
  void run() override { y_.copy_from(view_(node_, x_, y_.shape())); }
  std::string kernel() const override { return "copy for " + node_.op.name; }

 private:
  Graph::Node node_;
  ViewFunction view_;
  Tensor x_, y_;
};

class ViewStep final : public PlanStep {
 public:
  ViewStep(const Graph::Node& node, ViewFunction function)
      : PlanStep(node, {node.inputs[0]}), node_(node), view_(function) {}
  Tensor view(const Tensor& x, const Shape& shape) const override { return view_(node_, x, shape); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<ReorderCall>(node_, view_, inputs[0], output);
  }

 private:
  Graph::Node node_;
  ViewFunction view_;
};

StepMaker maker(ViewFunction view) {
  return [view](const Graph::Node& node, const PlanValues&) {
    return std::make_unique<ViewStep>(node, view);
  };
}

const RegisteredStep registered[] = {
    {"reshape", maker(reshaped)}, {"transpose", maker(transposed)}, {"slice", maker(sliced)}};

}  // namespace
}  // namespace vtrain
