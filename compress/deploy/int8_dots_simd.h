#pragma once

#include <cstdint>

namespace vtrain {

/// Columns are padded to this: a multiple of the lanes of every level.
constexpr int64_t kInt8Columns = 16;

struct Int8DotsSimd {
  /// sums[i * columns + j] = sum over k < length of x[i * length + k] * w(k, j), exact in 32 bits
  /// for elements of at most 255 in size and length <= 65536.
  ///   w  w(k, j) at [(k / 2 * columns + j) * 2 + k % 2]
  /// length is even, columns a multiple of kInt8Columns.
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
