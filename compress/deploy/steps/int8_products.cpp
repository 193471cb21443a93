// Convolutions and linear layers on codes: compress/deploy/int8_graph.h says which ops they take.
#include "compress/deploy/conv2d_node.h"
#include "compress/deploy/fold.h"
#include "compress/deploy/int8_kernels.h"
#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

class Int8ProductCall final : public PlanCall {
 public:
  Int8ProductCall(std::shared_ptr<const Int8Product> product, Tensor x, Tensor residual, Tensor y)
      : product_(std::move(product)),
        x_(std::move(x)),
        residual_(std::move(residual)),
        y_(std::move(y)) {}
  void run() override { product_->run(x_, residual_, y_); }
  std::string kernel() const override { return product_->implementation(x_.shape()); }

 private:
  std::shared_ptr<const Int8Product> product_;  // one for all batch sizes
  Tensor x_, residual_, y_;
};

class Int8ProductStep : public PlanStep {
 public:
  Int8ProductStep(const Graph::Node& node, const PlanValues& values)
      : PlanStep(node, {node.inputs[0]}) {
    layer_.weight = constant_of(node.inputs[1], values);
    layer_.weight_scale = constant_of(node.inputs[2], values);
    layer_.bias = constant_of(node.inputs[3], values);
    layer_.input = values[static_cast<size_t>(node.inputs[0])].codes.value();
    give(values[static_cast<size_t>(node.output)]);
  }

  std::vector<size_t> may_overwrite() const override {
    return layer_.adds_residual ? std::vector<size_t>{1} : std::vector<size_t>{};
  }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    if (!product_) product_ = product(layer_);
    return std::make_unique<Int8ProductCall>(product_, inputs[0],
                                             inputs.size() > 1 ? inputs[1] : Tensor(), output);
  }

 protected:
  virtual std::shared_ptr<const Int8Product> product(const Int8Layer& layer) const = 0;

  bool absorb(const Graph::Node& node, size_t own, const PlanValues& values) override {
    if (layer_.result == Int8Output::kCodes || !takes(node, own, values)) return false;
    give(values[static_cast<size_t>(node.output)]);
    return true;
  }

 private:
  /// A sum of reals, or of a layer whose result will be codes, goes into the product's pass alike.
  bool takes(const Graph::Node& node, size_t own, const PlanValues& values) {
    const std::string& op = node.op.name;
    if (layer_.activation != Int8Activation::kNone) return false;
    if (op == "int8_batch_norm") return own == 0;  // it is in the weights
    if (op == "int8_relu" || op == "relu") {
      layer_.activation = Int8Activation::kRelu;
      return true;
    }
    if (op == "int8_relu6" || op == "relu6") {
      layer_.activation = Int8Activation::kRelu6;
      return true;
    }
    if ((op != "int8_add" && op != "add") || layer_.adds_residual) return false;
    const int other = node.inputs[1 - own];
    const PlanValue &residual = values[static_cast<size_t>(other)],
                    &sum = values[static_cast<size_t>(node.output)];
    const bool fits =
        residual.shape == sum.shape && residual.grows == sum.grows && !residual.constant.defined();
    const bool is_own = op == "int8_add" ? own == 0 : residual.dtype == DType::f32;
    if (!fits || !is_own) return false;
    layer_.adds_residual = true;
    if (residual.codes) layer_.residual = *residual.codes;
    add_input(other);
    return true;
  }
  void give(const PlanValue& output) {
    layer_.result = output.codes ? Int8Output::kCodes : Int8Output::kReals;
    if (output.codes) layer_.output = *output.codes;
  }

  Int8Layer layer_;
  std::shared_ptr<const Int8Product> product_;
};

class Int8ConvolutionStep final : public Int8ProductStep {
 public:
  Int8ConvolutionStep(const Graph::Node& node, const PlanValues& values)
      : Int8ProductStep(node, values), options_(conv2d_options(node)) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_channels_last(); }

 protected:
  std::shared_ptr<const Int8Product> product(const Int8Layer& layer) const override {
    return std::make_shared<Int8Conv2d>(layer, options_);
  }

 private:
  Conv2dOptions options_;
};

class Int8LinearStep final : public Int8ProductStep {
 public:
  using Int8ProductStep::Int8ProductStep;
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_contiguous(); }

 protected:
  std::shared_ptr<const Int8Product> product(const Int8Layer& layer) const override {
    return std::make_shared<Int8Linear>(layer);
  }
};

template <class S>
StepMaker int8_maker() {
  return [](const Graph::Node& node, const PlanValues& values) {
    return std::make_unique<S>(node, values);
  };
}
const RegisteredStep registered[] = {{"int8_conv2d", int8_maker<Int8ConvolutionStep>()},
                                     {"int8_linear", int8_maker<Int8LinearStep>()}};

}  // namespace
}  // namespace vtrain
