#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// Rows of C elements; weight is null for 1.
template <class T>
struct RmsNormPasses {
  void (*forward)(const T* x, const float* weight, int64_t rows, int64_t channels, float eps, T* y,
                  float* rrms);
  /// Adds the rows' sums to dweight (C).
  void (*grad)(const T* x, const float* weight, const float* rrms, const T* dy, int64_t rows,
               int64_t channels, T* dx, float* dweight);
};

struct RmsNormSimd {
  RmsNormPasses<float> f32;
  RmsNormPasses<BFloat16> bf16;
};

namespace baseline {
extern const RmsNormSimd rms_norm_simd;
}
namespace avx2 {
extern const RmsNormSimd rms_norm_simd;
}
namespace avx512 {
extern const RmsNormSimd rms_norm_simd;
}
namespace avx512_bf16 {
extern const RmsNormSimd rms_norm_simd;
}

}  // namespace vtrain
