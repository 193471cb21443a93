#include <algorithm>

#include "compress/deploy/plan_step.h"
#include "tensor/cpu_level.h"
#include "tensor/ops/attention_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// Multi-head self-attention without mask: the project's own kernel, whose row statistics, which
/// only training reads, go to scratch.
struct AttentionSizes {
  int64_t heads, qk_dim, v_dim;
  double scale;
};

class AttentionCall final : public PlanCall {
 public:
  /// `bias`: (N, L) added to the logits of each key, or undefined.
  AttentionCall(const AttentionSizes& sizes, Tensor qkv, Tensor bias, Tensor out,
                PlanScratch& scratch)
      : sizes_(sizes),
        qkv_(std::move(qkv)),
        bias_(std::move(bias)),
        out_(std::move(out)),
        scratch_(scratch) {
    const int64_t floats = 2 * statistics() + num_threads() * per_thread();
    scratch.reserve(static_cast<size_t>(floats) * sizeof(float));
  }

  void run() override {
    if (qkv_.dtype() == DType::bf16) {
      run_with<BFloat16>(simd().bf16);
    } else {
      run_with<float>(simd().f32);
    }
  }
  std::string kernel() const override { return "attention"; }

 private:
  static const AttentionSimd& simd() {
    return by_level(baseline::attention_simd, avx2::attention_simd, avx512::attention_simd,
                    avx512_bf16::attention_simd);
  }
  int64_t tasks() const { return qkv_.dim(0) * sizes_.heads; }
  /// Floats of one statistic of all rows, in whole cache lines.
  int64_t statistics() const { return (tasks() * qkv_.dim(1) + 15) / 16 * 16; }
  int64_t per_thread() const {
    const int64_t floats = qkv_.dtype() == DType::bf16 ? simd().bf16.scratch(arrays<BFloat16>())
                                                       : simd().f32.scratch(arrays<float>());
    return (floats + 15) / 16 * 16;
  }

  template <class T>
  AttentionArrays<T> arrays() const {
    AttentionArrays<T> a{};
    a.qkv = qkv_.data<T>();
    a.key_bias = bias_.defined() ? bias_.data<float>() : nullptr;
    a.heads = sizes_.heads;
    a.length = qkv_.dim(1);
    a.qk_dim = sizes_.qk_dim;
    a.v_dim = sizes_.v_dim;
    a.scale = static_cast<float>(sizes_.scale);
    return a;
  }

  template <class T>
  void run_with(const AttentionLoops<T>& loops) {
    AttentionArrays<T> a = arrays<T>();
    a.out = out_.data<T>();
    a.row_max = reinterpret_cast<float*>(scratch_.data());
    a.row_sum = a.row_max + statistics();
    float* const own = a.row_sum + statistics();
    const int64_t each = per_thread();
    // A thread is worth starting for a few hundred thousand multiplications.
    const int64_t grain =
        std::max<int64_t>(200000 / (a.length * a.length * (a.qk_dim + a.v_dim) + 1), 1);
    parallel_for(tasks(), grain, [&](int64_t begin, int64_t end, int thread) {
      loops.forward(a, begin, end, own + thread * each);
    });
  }

  AttentionSizes sizes_;
  Tensor qkv_, bias_, out_;
  PlanScratch& scratch_;
};

class AttentionStep final : public PlanStep {
 public:
  AttentionStep(const Graph::Node& node, const AttentionSizes& sizes)
      : PlanStep(node, {node.inputs[0], node.inputs[2]}), sizes_(sizes) {}
  bool reads(size_t, const Tensor& x, const Tensor&) const override { return x.is_contiguous(); }
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch& scratch) override {
    return std::make_unique<AttentionCall>(sizes_, inputs[0], inputs[1], output, scratch);
  }

 private:
  AttentionSizes sizes_;
};

const RegisteredStep registered(
    "attention",
    [](const Graph::Node& node, const PlanValues& values) -> std::unique_ptr<PlanStep> {
      const DType dtype = values[static_cast<size_t>(node.output)].dtype;
      const int bias = node.inputs[2];
      const bool has_wide_bias = bias >= 0 && values[static_cast<size_t>(bias)].dtype != DType::f32;
      if (node.inputs[1] >= 0 || has_wide_bias || attribute(node, "mask_eps") != 0 ||
          (dtype != DType::f32 && dtype != DType::bf16))
        return nullptr;
      return std::make_unique<AttentionStep>(node,
                                             AttentionSizes{.heads = integer(node, "num_heads"),
                                                            .qk_dim = integer(node, "qk_dim"),
                                                            .v_dim = integer(node, "v_dim"),
                                                            .scale = attribute(node, "scale")});
    });

}  // namespace
}  // namespace vtrain
