#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// Rows of C elements of T: float, or BFloat16 that is widened. weight and bias are null for 1 and
/// 0.
template <class T>
struct LayerNormLoops {
  void (*forward)(const T* x, const float* weight, const float* bias, int64_t rows,
                  int64_t channels, float eps, T* y, float* mean, float* rstd);
  /// Adds the rows' sums to dweight and dbias (C).
  void (*grad)(const T* x, const float* weight, const float* mean, const float* rstd, const T* dy,
               int64_t rows, int64_t channels, T* dx, float* dweight, float* dbias);
};
struct LayerNormSimd {
  LayerNormLoops<float> f32;
  LayerNormLoops<BFloat16> bf16;
};

namespace baseline {
extern const LayerNormSimd layer_norm_simd;
}
namespace avx2 {
extern const LayerNormSimd layer_norm_simd;
}
namespace avx512 {
extern const LayerNormSimd layer_norm_simd;
}
namespace avx512_bf16 {
extern const LayerNormSimd layer_norm_simd;
}

}  // namespace vtrain
