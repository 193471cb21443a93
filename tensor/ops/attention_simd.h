#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// Contiguous arrays of one call, T float or BFloat16; a task is one (image, head), numbered image
/// * heads + head. Null where the op has none.
template <class T>
struct AttentionArrays {
  const T* qkv;           // (N, L, heads * (2 qk_dim + v_dim))
  const float* mask;      // (N, L)
  const float* key_bias;  // (N, L)
  const T* dout;          // (N, L, heads * v_dim)
  T* out;                 // (N, L, heads * v_dim)
  float* row_max;         // (N, heads, L)
  float* row_sum;         // (N, heads, L)
  T* dqkv;                // like qkv
  float* dmask;           // (N, heads, L): a head's share
  float* dkey_bias;       // (N, heads, L): a head's share
  int64_t heads, length, qk_dim, v_dim;
  float scale;
};

/// eps = 0, the maximum over visible keys.
template <class T>
struct AttentionLoops {
  int64_t (*scratch)(
      const AttentionArrays<T>& arrays);  // floats that a thread must bring, 64-byte aligned
  void (*forward)(const AttentionArrays<T>& arrays, int64_t begin, int64_t end, float* scratch);
  void (*backward)(const AttentionArrays<T>& arrays, int64_t begin, int64_t end, float* scratch);
};
struct AttentionSimd {
  AttentionLoops<float> f32;
  AttentionLoops<BFloat16> bf16;
};

namespace baseline {
extern const AttentionSimd attention_simd;
}
namespace avx2 {
extern const AttentionSimd attention_simd;
}
namespace avx512 {
extern const AttentionSimd attention_simd;
}
namespace avx512_bf16 {
extern const AttentionSimd attention_simd;
}

}  // namespace vtrain
