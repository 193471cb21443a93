// Ops that only move elements: each part of the result is copied once, straight to its place.
#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

/// From where to where; views of an input and of the output.
struct Move {
  Tensor from, to;
};

class MoveCall final : public PlanCall {
 public:
  MoveCall(std::string op, std::vector<Move> moves, Tensor zeroed)
      : op_(std::move(op)), moves_(std::move(moves)), zeroed_(std::move(zeroed)) {}
  void run() override {
    if (zeroed_.defined()) zeroed_.fill(0);
    for (Move& move : moves_) move.to.copy_from(move.from);
  }
  std::string kernel() const override { return op_; }

 private:
  std::string op_;
  std::vector<Move> moves_;
  Tensor zeroed_;  // undefined where the moves fill the output
};

class MoveStep : public PlanStep {
 public:
  explicit MoveStep(const Graph::Node& node) : PlanStep(node, node.inputs), node_(node) {}
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<MoveCall>(node_.op.name, moves(inputs, output),
                                      leaves_zeros() ? output : Tensor());
  }

 protected:
  virtual std::vector<Move> moves(const std::vector<Tensor>& inputs,
                                  const Tensor& output) const = 0;
  virtual bool leaves_zeros() const { return false; }
  int64_t number(const char* name) const { return integer(node_, name); }

 private:
  Graph::Node node_;
};

class ConcatStep final : public MoveStep {
 public:
  using MoveStep::MoveStep;

 protected:
  std::vector<Move> moves(const std::vector<Tensor>& inputs, const Tensor& output) const override {
    const int axis = static_cast<int>(number("dim"));
    std::vector<Move> all;
    int64_t at = 0;
    for (const Tensor& part : inputs) {
      all.push_back({part, output.slice(axis, at, at + part.dim(axis))});
      at += part.dim(axis);
    }
    return all;
  }
};

class PadChannelsStep final : public MoveStep {
 public:
  using MoveStep::MoveStep;

 protected:
  std::vector<Move> moves(const std::vector<Tensor>& inputs, const Tensor& output) const override {
    const int64_t front = number("front");
    return {{inputs[0], output.slice(1, front, front + inputs[0].dim(1))}};
  }
  bool leaves_zeros() const override { return true; }
};

class SubsampleStep final : public MoveStep {
 public:
  using MoveStep::MoveStep;
  Tensor view(const Tensor& x, const Shape& shape) const override {
    Shape strides = x.strides();
    for (const size_t axis : {2, 3}) strides[axis] *= number("step");
    return x.view(shape, strides, 0);
  }

 protected:
  std::vector<Move> moves(const std::vector<Tensor>& inputs, const Tensor& output) const override {
    return {{view(inputs[0], output.shape()), output}};
  }
};

/// (N, C, H, W) -> (N, H/p * W/p, p*p*C): a patch's rows lie in the image as they do in the result.
class PatchesStep final : public MoveStep {
 public:
  using MoveStep::MoveStep;
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_channels_last(); }

 protected:
  std::vector<Move> moves(const std::vector<Tensor>& inputs, const Tensor& output) const override {
    const Tensor& x = inputs[0];
    const int64_t n = x.dim(0), p = number("patch"), down = x.dim(2) / p, across = x.dim(3) / p,
                  run = p * x.dim(1), row = across * run;  // elements of a patch's row, an image's
    return {{x.view({n, down, across, p, run}, {down * p * row, p * row, run, row, 1}, 0),
             output.reshape({n, down, across, p, run})}};
  }
};

/// Every image gets the same rows: strides of 0 where an extent repeats.
class ExpandStep final : public MoveStep {
 public:
  using MoveStep::MoveStep;

 protected:
  std::vector<Move> moves(const std::vector<Tensor>& inputs, const Tensor& output) const override {
    const Tensor& x = inputs[0];
    const size_t lead = output.shape().size() - x.shape().size();
    Shape strides(output.shape().size(), 0);
    for (size_t i = 0; i < x.shape().size(); ++i)
      strides[lead + i] = x.shape()[i] == output.shape()[lead + i] ? x.strides()[i] : 0;
    return {{x.view(output.shape(), strides, 0), output}};
  }
};

template <class S>
StepMaker maker() {
  return [](const Graph::Node& node, const PlanValues&) { return std::make_unique<S>(node); };
}

const RegisteredStep registered[] = {{"concat", maker<ConcatStep>()},
                                     {"pad_channels", maker<PadChannelsStep>()},
                                     {"patchify_yxc", maker<PatchesStep>()},
                                     {"subsample", maker<SubsampleStep>()},
                                     {"expand", maker<ExpandStep>()}};

}  // namespace
}  // namespace vtrain
