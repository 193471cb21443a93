// Element by element: y = act(scale_c x + shift_c + residual), each part optional, in one pass over
// memory: batch norm that stands behind no product, sums, activations. Where a network runs on
// integers, y may be rounded to codes in the same pass.
#include <algorithm>
#include <optional>

#include "compress/deploy/codes.h"
#include "compress/deploy/fold.h"
#include "compress/deploy/product.h"
#include "tensor/cpu_level.h"
#include "tensor/ops/activation_simd.h"
#include "tensor/ops/blocks.h"
#include "tensor/ops/gelu_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;  // elements worth a thread

ActivationKind kind_of(PlanActivation activation) {
  switch (activation) {
    case PlanActivation::kRelu6:
      return ActivationKind::kRelu6;
    case PlanActivation::kLeakyRelu:
      return ActivationKind::kLeakyRelu;
    case PlanActivation::kSigmoid:
      return ActivationKind::kSigmoid;
    case PlanActivation::kTanh:
      return ActivationKind::kTanh;
    case PlanActivation::kSilu:
      return ActivationKind::kSilu;
    case PlanActivation::kGeluTanh:
      return ActivationKind::kGeluTanh;
    case PlanActivation::kHardSigmoid:
      return ActivationKind::kHardSigmoid;
    case PlanActivation::kHardSwish:
      return ActivationKind::kHardSwish;
    case PlanActivation::kNone:
    case PlanActivation::kRelu:
    case PlanActivation::kGelu:
      break;
  }
  throw Error("plan: pointwise: expected an activation with a kernel of that kind");
}

void activate(const Epilogue& epilogue, float* x, int64_t n) {
  switch (epilogue.activation) {
    case PlanActivation::kNone:
      return;
    case PlanActivation::kRelu:
      for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0 ? 0 : x[i];  // NaN comes through
      return;
    case PlanActivation::kGelu:
      return by_level(baseline::gelu_simd, avx2::gelu_simd, avx512::gelu_simd,
                      avx512_bf16::gelu_simd)
          .f32.forward(x, x, n);
    default:
      return by_level(baseline::activation_simd, avx2::activation_simd, avx512::activation_simd,
                      avx512_bf16::activation_simd)
          .f32.forward(kind_of(epilogue.activation), x, static_cast<float>(epilogue.slope), n, x);
  }
}

/// n elements of a period, the first of them number `at`: f(place in the run, place in the period,
/// count) for each run without a wrap.
template <class F>
void for_runs(int64_t at, int64_t n, int64_t period, const F& f) {
  int64_t inside = at % period;
  for (int64_t i = 0; i < n;) {
    const int64_t count = std::min(n - i, period - inside);
    f(i, inside, count);
    i += count;
    inside = 0;
  }
}

/// Factors per channel, the fastest axis in memory.
struct ChannelFactors {
  std::vector<float> scale, shift;
};

template <class T>
void load(const T* from, float* to, int64_t n) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    widen(from, to, n);
  } else {
    std::copy_n(from, n, to);
  }
}
template <class T>
void store(const float* from, T* to, int64_t n) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    narrow(from, to, n);
  } else {
    std::copy_n(from, n, to);
  }
}

class PointwiseCall final : public PlanCall {
 public:
  PointwiseCall(std::string layers, const std::optional<ChannelFactors>& factors,
                const Epilogue& epilogue, const std::optional<QuantizedType>& codes, Tensor x,
                Tensor residual, Tensor y)
      : layers_(std::move(layers)),
        factors_(factors),
        epilogue_(epilogue),
        x_(std::move(x)),
        residual_(std::move(residual)),
        y_(std::move(y)) {
    if (codes) codes_.emplace(*codes);
  }

  void run() override {
    if (x_.dtype() == DType::bf16) {
      run_all<BFloat16>();
    } else {
      run_all<float>();
    }
    if (codes_) codes_->check(layers_);
  }
  std::string kernel() const override { return "pointwise"; }

 private:
  template <class T>
  void run_all() {
    const T* const x = x_.data<T>();
    const T* const residual = residual_.defined() ? residual_.data<T>() : nullptr;
    const int64_t repeats_after = residual ? std::max<int64_t>(residual_.numel(), 1) : 1;
    T* const y = codes_ ? nullptr : y_.data<T>();
    auto* const codes = reinterpret_cast<uint8_t*>(y_.raw());
    parallel_for(y_.numel(), kGrain, [&](int64_t begin, int64_t end) {
      Block block, other;
      for_blocks(end - begin, [&](int64_t offset, int64_t count) {
        const int64_t first = begin + offset;
        load(x + first, block.data(), count);
        if (factors_) scale(first, count, block.data());
        if (residual) {
          for_runs(first, count, repeats_after, [&](int64_t at, int64_t inside, int64_t n) {
            load(residual + inside, other.data() + at, n);
          });
          for (size_t i = 0; i < static_cast<size_t>(count); ++i) block[i] += other[i];
        }
        activate(epilogue_, block.data(), count);
        if (codes_) {
          codes_->write(block.data(), count, codes + first);
        } else {
          store(block.data(), y + first, count);
        }
      });
    });
  }

  void scale(int64_t first, int64_t count, float* x) const {
    const float *const a = factors_->scale.data(), *const b = factors_->shift.data();
    for_runs(first, count, static_cast<int64_t>(factors_->scale.size()),
             [&](int64_t at, int64_t channel, int64_t n) {
               for (int64_t i = 0; i < n; ++i)
                 x[at + i] = x[at + i] * a[channel + i] + b[channel + i];
             });
  }

  std::string layers_;
  std::optional<ChannelFactors> factors_;
  Epilogue epilogue_;
  std::optional<CodeWriter> codes_;
  Tensor x_, residual_, y_;
};

class PointwiseStep final : public PlanStep {
 public:
  PointwiseStep(const Graph::Node& node, std::vector<int> inputs, const Epilogue& epilogue)
      : PlanStep(node, std::move(inputs)), epilogue_(epilogue) {}
  PointwiseStep(const Graph::Node& node, const ScaleShift& factors)
      : PlanStep(node, {node.inputs[0]}),
        factors_(ChannelFactors{{factors.scale.begin(), factors.scale.end()},
                                {factors.shift.begin(), factors.shift.end()}}) {}

  bool reads(size_t, const Tensor& x, const Tensor& y) const override {
    return x.strides() == y.strides();
  }
  std::vector<size_t> may_overwrite() const override {
    return epilogue_.has_residual ? std::vector<size_t>{0, 1} : std::vector<size_t>{0};
  }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    const Tensor residual = inputs.size() > 1 ? inputs[1] : Tensor();
    const bool repeats = residual.defined() && residual.numel() < output.numel();
    return std::make_unique<PointwiseCall>(layers(), factors_, epilogue_, codes_, inputs[0],
                                           repeats ? residual.contiguous() : residual, output);
  }

 protected:
  bool absorb(const Graph::Node& node, size_t own, const PlanValues& values) override;

 private:
  std::optional<ChannelFactors> factors_;
  Epilogue epilogue_;
  std::optional<QuantizedType> codes_;
};

bool has_kernel(const PlanValue& value) {
  return value.dtype == DType::f32 || value.dtype == DType::bf16;
}

/// b can be added to a result like a: the same value again for every image, or one per image.
bool is_addable(const PlanValue& a, const PlanValue& b) {
  if (a.dtype != b.dtype || !has_kernel(a)) return false;
  if (a.shape == b.shape && a.grows == b.grows) return !b.constant.defined();
  return b.constant.defined() && a.shape == b.shape && !a.is_channels_last && a.grows[0] != 0 &&
         a.shape[0] == 1;
}

bool PointwiseStep::absorb(const Graph::Node& node, size_t own, const PlanValues& values) {
  const PlanValue& result = values[static_cast<size_t>(node.output)];
  if (node.op.name == "quantize" && !codes_) {
    codes_ = result.codes;
    return true;
  }
  if (!has_kernel(result) || result.dtype != values[static_cast<size_t>(output())].dtype)
    return false;
  if (node.op.name != "add") return extend(epilogue_, node);
  const int other = node.inputs[1 - own];
  if (!is_addable(result, values[static_cast<size_t>(other)]) || !extend(epilogue_, node))
    return false;
  add_input(other);
  return true;
}

std::unique_ptr<PlanStep> sum_step(const Graph::Node& node, const PlanValues& values) {
  const auto at = [&](int v) -> const PlanValue& { return values[static_cast<size_t>(v)]; };
  const PlanValue& y = at(node.output);
  for (const size_t first : {size_t{0}, size_t{1}}) {
    const int a = node.inputs[first], b = node.inputs[1 - first];
    if (at(a).constant.defined() || at(a).shape != y.shape || at(a).grows != y.grows ||
        at(a).dtype != y.dtype || !is_addable(y, at(b)))
      continue;
    return std::make_unique<PointwiseStep>(node, std::vector<int>{a, b},
                                           Epilogue{.has_residual = true});
  }
  return nullptr;
}

std::unique_ptr<PlanStep> activation_step(const Graph::Node& node, const PlanValues& values) {
  Epilogue epilogue;
  if (!has_kernel(values[static_cast<size_t>(node.output)]) || !extend(epilogue, node))
    return nullptr;
  return std::make_unique<PointwiseStep>(node, std::vector<int>{node.inputs[0]}, epilogue);
}

std::unique_ptr<PlanStep> batch_norm_step(const Graph::Node& node, const PlanValues& values) {
  const bool is_plain = node.inputs[3] < 0 && attribute(node, "activation") == 0;
  if (!is_plain || !has_kernel(values[static_cast<size_t>(node.output)])) return nullptr;
  return std::make_unique<PointwiseStep>(node, scale_shift_of(node, values));
}

const RegisteredStep registered[] = {{"add", sum_step},
                                     {"batch_norm", batch_norm_step},
                                     {"relu", activation_step},
                                     {"relu6", activation_step},
                                     {"leaky_relu", activation_step},
                                     {"sigmoid", activation_step},
                                     {"tanh", activation_step},
                                     {"silu", activation_step},
                                     {"gelu", activation_step},
                                     {"gelu_tanh", activation_step},
                                     {"hard_sigmoid", activation_step},
                                     {"hard_swish", activation_step}};

}  // namespace
}  // namespace vtrain
