#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// Contiguous rows of n elements of T: float, or BFloat16 that is widened.
template <class T>
struct SoftmaxLoops {
  void (*forward)(const T* x, int64_t rows, int64_t n, T* y);
  void (*grad)(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);
  void (*log_forward)(const T* x, int64_t rows, int64_t n, T* y);
  void (*log_grad)(const T* y, const T* dy, int64_t rows, int64_t n, T* dx);
};
struct SoftmaxSimd {
  SoftmaxLoops<float> f32;
  SoftmaxLoops<BFloat16> bf16;
};

namespace baseline {
extern const SoftmaxSimd softmax_simd;
}
namespace avx2 {
extern const SoftmaxSimd softmax_simd;
}
namespace avx512 {
extern const SoftmaxSimd softmax_simd;
}
namespace avx512_bf16 {
extern const SoftmaxSimd softmax_simd;
}

}  // namespace vtrain
