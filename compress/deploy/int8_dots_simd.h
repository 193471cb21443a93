#pragma once

#include <cstdint>

namespace vtrain {

struct Int8DotsSimd {
  /// sums[i * columns + j] = sum over k of x[i * length + k] * w[j * length + k], exact in 32 bits
  /// for elements of at most 255 in size and length <= 65536. length is a multiple of 32.
  void (*dots)(const int16_t* x, int64_t rows, const int16_t* w, int64_t columns, int64_t length,
               int32_t* sums);
};

namespace baseline {
extern const Int8DotsSimd int8_dots_simd;
}
namespace avx2 {
extern const Int8DotsSimd int8_dots_simd;
}
namespace avx512 {
extern const Int8DotsSimd int8_dots_simd;
}
namespace avx512_bf16 {
extern const Int8DotsSimd int8_dots_simd;
}

}  // namespace vtrain
