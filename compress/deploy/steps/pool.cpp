#include "tensor/ops/pool.h"

#include "compress/deploy/plan_step.h"

namespace vtrain {
namespace {

enum class PoolKind { kMax, kAverage };

class PoolCall final : public PlanCall {
 public:
  PoolCall(PoolKind kind, PoolWindows windows, Tensor x, Tensor y)
      : kind_(kind), windows_(std::move(windows)), x_(std::move(x)), y_(std::move(y)) {}
  void run() override {
    const PoolKernels& kernels = pool_kernels.on(x_.device());
    Tensor no_taps;
    if (kind_ == PoolKind::kMax) {
      kernels.max(x_, windows_, y_, no_taps);
    } else {
      kernels.average(x_, windows_, y_);
    }
  }
  std::string kernel() const override {
    return kind_ == PoolKind::kMax ? "max pool" : "average pool";
  }

 private:
  PoolKind kind_;
  PoolWindows windows_;
  Tensor x_, y_;
};

using WindowsOf = std::function<PoolWindows(const Shape& x)>;

class PoolStep final : public PlanStep {
 public:
  PoolStep(const Graph::Node& node, PoolKind kind, WindowsOf windows)
      : PlanStep(node, {node.inputs[0]}), kind_(kind), windows_(std::move(windows)) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_channels_last(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<PoolCall>(kind_, windows_(inputs[0].shape()), inputs[0], output);
  }

 private:
  PoolKind kind_;
  WindowsOf windows_;
};

StepMaker sliding(PoolKind kind) {
  return [kind](const Graph::Node& node, const PlanValues&) {
    const auto n = [&](const char* name) { return integer(node, name); };
    const Pool2dOptions options{.kernel = {n("kernel_h"), n("kernel_w")},
                                .stride = {n("stride_h"), n("stride_w")},
                                .padding = {n("padding_h"), n("padding_w")},
                                .ceil_mode = n("ceil_mode") != 0,
                                .count_include_pad = n("count_include_pad") != 0};
    return std::make_unique<PoolStep>(node, kind, [options](const Shape& x) {
      return sliding_windows("pool of a plan", x, options);
    });
  };
}

StepMaker adaptive(PoolKind kind) {
  return [kind](const Graph::Node& node, const PlanValues&) {
    const Extent2d size{integer(node, "h"), integer(node, "w")};
    return std::make_unique<PoolStep>(
        node, kind, [size](const Shape& x) { return adaptive_windows("pool of a plan", x, size); });
  };
}

const RegisteredStep registered[] = {{"max_pool2d", sliding(PoolKind::kMax)},
                                     {"average_pool2d", sliding(PoolKind::kAverage)},
                                     {"adaptive_max_pool2d", adaptive(PoolKind::kMax)},
                                     {"adaptive_average_pool2d", adaptive(PoolKind::kAverage)}};

}  // namespace
}  // namespace vtrain
