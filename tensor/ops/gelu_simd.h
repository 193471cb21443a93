#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// On n elements of T: float, or BFloat16 that is widened.
template <class T>
struct GeluLoops {
  void (*forward)(const T* x, T* y, int64_t n);
  void (*grad)(const T* x, const T* dy, T* dx, int64_t n);
};
struct GeluSimd {
  GeluLoops<float> f32;
  GeluLoops<BFloat16> bf16;
};

namespace baseline {
extern const GeluSimd gelu_simd;
}
namespace avx2 {
extern const GeluSimd gelu_simd;
}
namespace avx512 {
extern const GeluSimd gelu_simd;
}
namespace avx512_bf16 {
extern const GeluSimd gelu_simd;
}

}  // namespace vtrain
