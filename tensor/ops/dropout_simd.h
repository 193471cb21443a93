#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

template <class T>
struct DropoutPasses {
  void (*forward)(const T* x, const float* noise, float rate, int64_t n, T* y, uint8_t* kept);
  void (*grad)(const T* dy, const uint8_t* kept, float rate, int64_t n, T* dx);
};

struct DropoutSimd {
  DropoutPasses<float> f32;
  DropoutPasses<BFloat16> bf16;
};

namespace baseline {
extern const DropoutSimd dropout_simd;
}
namespace avx2 {
extern const DropoutSimd dropout_simd;
}
namespace avx512 {
extern const DropoutSimd dropout_simd;
}
namespace avx512_bf16 {
extern const DropoutSimd dropout_simd;
}

}  // namespace vtrain
