#pragma once

#include <cstdint>

namespace vtrain {

/// One step's numbers for a tensor, worked out in double.
template <class T>
struct AdamwStep {
  T decay;  // 1 - eta * weight_decay
  T one_minus_beta1, beta2, one_minus_beta2;
  T step_size;     // eta / (1 - beta1^step)
  T inverse_root;  // 1 / sqrt(1 - beta2^step)
  T eps, grad_scale;
};
template <class T>
struct SgdStep {
  T lr, momentum, weight_decay, grad_scale;
  bool nesterov;
};

struct OptimizeSimd {
  void (*adamw)(float* p, const float* grad, float* m, float* v, int64_t n,
                const AdamwStep<float>& step);
  void (*sgd)(float* p, const float* grad, float* buffer, int64_t n, const SgdStep<float>& step);
  void (*ema)(const float* value, float* average, int64_t n, float decay, float rest);
  double (*sum_of_squares)(const float* x, int64_t n);
};

namespace baseline {
extern const OptimizeSimd optimize_simd;
}
namespace avx2 {
extern const OptimizeSimd optimize_simd;
}
namespace avx512 {
extern const OptimizeSimd optimize_simd;
}
namespace avx512_bf16 {
extern const OptimizeSimd optimize_simd;
}

}  // namespace vtrain
