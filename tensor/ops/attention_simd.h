#pragma once

#include <cstdint>

namespace vtrain {

/// Contiguous f32 arrays of one call; a task is one (image, head), numbered image * heads + head.
/// Null where the op has none.
struct AttentionArrays {
  const float* qkv;       // (N, L, heads * (2 qk_dim + v_dim))
  const float* mask;      // (N, L)
  const float* key_bias;  // (N, L)
  const float* dout;      // (N, L, heads * v_dim)
  float* out;             // (N, L, heads * v_dim)
  float* row_max;         // (N, heads, L)
  float* row_sum;         // (N, heads, L)
  float* dqkv;            // like qkv
  float* dmask;           // (N, heads, L): a head's share
  float* dkey_bias;       // (N, heads, L): a head's share
  int64_t heads, length, qk_dim, v_dim;
  float scale;
};

/// eps = 0, the maximum over visible keys.
struct AttentionSimd {
  int64_t (*scratch)(
      const AttentionArrays& arrays);  // floats that a thread must bring, 64-byte aligned
  void (*forward)(const AttentionArrays& arrays, int64_t begin, int64_t end, float* scratch);
  void (*backward)(const AttentionArrays& arrays, int64_t begin, int64_t end, float* scratch);
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
