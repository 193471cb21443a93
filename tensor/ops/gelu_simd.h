#pragma once

#include <cstdint>

namespace vtrain {

struct GeluSimd {
  void (*forward)(const float* x, float* y, int64_t n);
  void (*grad)(const float* x, const float* dy, float* dx, int64_t n);
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
