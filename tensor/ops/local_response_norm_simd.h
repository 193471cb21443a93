#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// LocalResponseNormOptions (tensor/ops/local_response_norm.h) for one row of C channels.
struct LocalResponseNormRow {
  int64_t channels, before, behind;  // the channels around one: before + 1 + behind
  float share, beta, k;              // share = alpha / n
};

template <class T>
struct LocalResponseNormPasses {
  /// `scratch` holds 2 (C + before + behind) floats.
  void (*forward)(const LocalResponseNormRow& row, const T* x, int64_t rows, float* scratch, T* y);
  void (*grad)(const LocalResponseNormRow& row, const T* x, const T* dy, int64_t rows,
               float* scratch, T* dx);
};

struct LocalResponseNormSimd {
  LocalResponseNormPasses<float> f32;
  LocalResponseNormPasses<BFloat16> bf16;
};

namespace baseline {
extern const LocalResponseNormSimd local_response_norm_simd;
}
namespace avx2 {
extern const LocalResponseNormSimd local_response_norm_simd;
}
namespace avx512 {
extern const LocalResponseNormSimd local_response_norm_simd;
}
namespace avx512_bf16 {
extern const LocalResponseNormSimd local_response_norm_simd;
}

}  // namespace vtrain
