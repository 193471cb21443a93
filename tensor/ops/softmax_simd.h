#pragma once

#include <cstdint>

namespace vtrain {

/// Contiguous rows of n floats.
struct SoftmaxSimd {
  void (*forward)(const float* x, int64_t rows, int64_t n, float* y);
  void (*grad)(const float* y, const float* dy, int64_t rows, int64_t n, float* dx);
  void (*log_forward)(const float* x, int64_t rows, int64_t n, float* y);
  void (*log_grad)(const float* y, const float* dy, int64_t rows, int64_t n, float* dx);
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
