#pragma once

#include <cstdint>

namespace vtrain {

/// For each of `rows` vectors of a (rows, width) the most alike of the `columns` vectors of b,
/// which lie transposed in (width, stride), stride a multiple of 32 and at least columns: the
/// highest product and where it is. Of equal ones the lowest; what is not a number is never the
/// highest; -inf and 0 where there is none.
struct TokenMergeSimd {
  void (*best_products)(const float* a, int64_t rows, const float* b, int64_t columns,
                        int64_t stride, int64_t width, float* best, int32_t* at);
};

namespace baseline {
extern const TokenMergeSimd token_merge_simd;
}
namespace avx2 {
extern const TokenMergeSimd token_merge_simd;
}
namespace avx512 {
extern const TokenMergeSimd token_merge_simd;
}
namespace avx512_bf16 {
extern const TokenMergeSimd token_merge_simd;
}

}  // namespace vtrain
