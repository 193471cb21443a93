#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"
#include "tensor/ops/activation_kind.h"

namespace vtrain {

template <class T>
struct ActivationPasses {
  void (*forward)(ActivationKind kind, const T* x, float slope, int64_t n, T* y);
  void (*grad)(ActivationKind kind, const T* x, const T* dy, float slope, int64_t n, T* dx);
};

struct ActivationSimd {
  ActivationPasses<float> f32;
  ActivationPasses<BFloat16> bf16;
};

namespace baseline {
extern const ActivationSimd activation_simd;
}
namespace avx2 {
extern const ActivationSimd activation_simd;
}
namespace avx512 {
extern const ActivationSimd activation_simd;
}
namespace avx512_bf16 {
extern const ActivationSimd activation_simd;
}

}  // namespace vtrain
