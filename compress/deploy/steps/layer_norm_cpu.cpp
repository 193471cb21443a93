#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "compress/deploy/codes.h"
#include "compress/deploy/fold.h"
#include "tensor/cpu_level.h"
#include "tensor/ops/layer_norm_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;

const float* data_or_null(const Tensor& t) { return t.defined() ? t.data<float>() : nullptr; }

/// What a step does besides normalising.
struct LayerNormRest {
  std::vector<int32_t> channels = {};  // that are handed on, of all; empty: all
  std::optional<QuantizedType> codes = {};
};

class LayerNormCall final : public PlanCall {
 public:
  LayerNormCall(std::string layers, Tensor weight, Tensor bias, double eps,
                const LayerNormRest& rest, Tensor x, Tensor y, PlanScratch& scratch)
      : layers_(std::move(layers)),
        weight_(std::move(weight)),
        bias_(std::move(bias)),
        eps_(static_cast<float>(eps)),
        channels_(rest.channels),
        x_(std::move(x)),
        y_(std::move(y)),
        scratch_(scratch) {
    scratch.reserve(static_cast<size_t>(2 * rows()) * sizeof(float));
    if (rest.codes) codes_.emplace(*rest.codes);
  }

  void run() override {
    const LayerNormSimd& simd = by_level(baseline::layer_norm_simd, avx2::layer_norm_simd,
                                         avx512::layer_norm_simd, avx512_bf16::layer_norm_simd);
    if (codes_) {
      auto* const y = reinterpret_cast<uint8_t*>(y_.raw());
      run_in_pieces(simd.f32, [&](const float* rows, int64_t count, int64_t first) {
        codes_->write(rows, count * y_.dim(-1), y + first * y_.dim(-1));
      });
      codes_->check(layers_);
    } else if (!channels_.empty()) {
      if (y_.dtype() == DType::bf16) {
        run_in_pieces(simd.bf16, Copy<BFloat16>{y_});
      } else {
        run_in_pieces(simd.f32, Copy<float>{y_});
      }
    } else if (y_.dtype() == DType::bf16) {
      run_with<BFloat16>(simd.bf16);
    } else {
      run_with<float>(simd.f32);
    }
  }
  std::string kernel() const override { return "layer norm"; }

 private:
  int64_t rows() const { return x_.numel() / std::max<int64_t>(x_.dim(-1), 1); }

  template <class T>
  void run_with(const LayerNormLoops<T>& loops) {
    const int64_t channels = x_.dim(-1);
    const T* const x = x_.data<T>();
    T* const y = y_.data<T>();
    // The kernel also gives mean and rstd of each row, which only training reads.
    auto* const mean = reinterpret_cast<float*>(scratch_.data());
    float* const rstd = mean + rows();
    const int64_t grain = std::max<int64_t>(kGrainElements / channels, 1);
    parallel_for(rows(), grain, [&](int64_t begin, int64_t end) {
      loops.forward(x + begin * channels, data_or_null(weight_), data_or_null(bias_), end - begin,
                    channels, eps_, y + begin * channels, mean + begin, rstd + begin);
    });
  }

  template <class T>
  struct Copy {
    Tensor& y;
    void operator()(const T* rows, int64_t count, int64_t first) const {
      T* const to = y.data<T>() + first * y.dim(-1);
      std::memcpy(static_cast<void*>(to), rows, static_cast<size_t>(count * y.dim(-1)) * sizeof(T));
    }
  };

  /// A few rows at a time, so that what comes behind finds them in L1: write(rows, count, first).
  template <class T, class Write>
  void run_in_pieces(const LayerNormLoops<T>& loops, const Write& write) {
    constexpr int64_t kRows = 4;
    const int64_t channels = x_.dim(-1);
    const T* const x = x_.data<T>();
    parallel_for(rows(), std::max<int64_t>(kGrainElements / channels, 1),
                 [&](int64_t begin, int64_t end) {
                   std::vector<T> some(static_cast<size_t>(kRows * channels));
                   std::array<float, kRows> mean, rstd;
                   for (int64_t r = begin; r < end; r += kRows) {
                     const int64_t count = std::min(kRows, end - r);
                     loops.forward(x + r * channels, data_or_null(weight_), data_or_null(bias_),
                                   count, channels, eps_, some.data(), mean.data(), rstd.data());
                     select(some.data(), count, channels);
                     write(some.data(), count, r);
                   }
                 });
  }

  /// Rows close up over the channels that are not handed on. They ascend: nothing is overwritten
  /// before it has moved.
  template <class T>
  void select(T* some, int64_t count, int64_t channels) const {
    if (channels_.empty()) return;
    T* to = some;
    for (int64_t r = 0; r < count; ++r) {
      for (const int32_t c : channels_) *to++ = some[r * channels + c];
    }
  }

  std::string layers_;
  Tensor weight_, bias_;
  float eps_;
  std::vector<int32_t> channels_;
  std::optional<CodeWriter> codes_;
  Tensor x_, y_;
  PlanScratch& scratch_;
};

class LayerNormStep final : public PlanStep {
 public:
  LayerNormStep(const Graph::Node& node, const Tensor& weight, const Tensor& bias)
      : PlanStep(node, {node.inputs[0]}),
        weight_(weight.defined() ? weight.clone() : weight),
        bias_(bias.defined() ? bias.clone() : bias),
        eps_(attribute(node, "eps")) {}

  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_contiguous(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch& scratch) override {
    return std::make_unique<LayerNormCall>(layers(), weight_, bias_, eps_, rest_, inputs[0], output,
                                           scratch);
  }

 protected:
  bool absorb(const Graph::Node& node, size_t own, const PlanValues& values) override {
    if (rest_.codes) return false;
    if (node.op.name == "select_channels") return own == 0 && absorb_channels(node, values);
    if (node.op.name != "quantize" || values[static_cast<size_t>(output())].dtype != DType::f32)
      return false;
    rest_.codes = values[static_cast<size_t>(node.output)].codes;
    return true;
  }

 private:
  bool absorb_channels(const Graph::Node& node, const PlanValues& values) {
    const Tensor index = constant_of(node.inputs[1], values);
    if (!index.defined() || !rest_.channels.empty()) return false;
    std::vector<int32_t> channels;
    for (const double c : index.to_vector())
      channels.push_back(static_cast<int32_t>(std::lround(c)));
    if (!std::is_sorted(channels.begin(), channels.end())) return false;
    rest_.channels = std::move(channels);
    return true;
  }

  Tensor weight_, bias_;
  double eps_;
  LayerNormRest rest_;
};

const RegisteredStep registered("layer_norm",
                                [](const Graph::Node& node,
                                   const PlanValues& values) -> std::unique_ptr<PlanStep> {
                                  const PlanValue& y = values[static_cast<size_t>(node.output)];
                                  const Tensor weight = constant_of(node.inputs[1], values),
                                               bias = constant_of(node.inputs[2], values);
                                  const auto fits = [](int v, const Tensor& t) {
                                    return v < 0 || (t.defined() && t.dtype() == DType::f32);
                                  };
                                  if ((y.dtype != DType::f32 && y.dtype != DType::bf16) ||
                                      !fits(node.inputs[1], weight) ||
                                      !fits(node.inputs[2], bias) || numel_of(y.shape) == 0)
                                    return nullptr;
                                  return std::make_unique<LayerNormStep>(node, weight, bias);
                                });

}  // namespace
}  // namespace vtrain
