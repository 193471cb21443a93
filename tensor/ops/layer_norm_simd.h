#pragma once

#include <cstdint>

namespace vtrain {

/// Rows of C floats; weight and bias are null for 1 and 0.
struct LayerNormSimd {
  void (*forward)(const float* x, const float* weight, const float* bias, int64_t rows,
                  int64_t channels, float eps, float* y, float* mean, float* rstd);
  /// Adds the rows' sums to dweight and dbias (C).
  void (*grad)(const float* x, const float* weight, const float* mean, const float* rstd,
               const float* dy, int64_t rows, int64_t channels, float* dx, float* dweight,
               float* dbias);
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
