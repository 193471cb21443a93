#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

struct ReduceSimd {
  /// total[c] = sum over `rows` of x[r * stride + c], c in [0, columns). Runs of 64 rows are summed
  /// in f32, the runs in double.
  void (*sum_columns)(const float* x, int64_t rows, int64_t columns, int64_t stride, float* total);
  void (*sum_columns_bf16)(const BFloat16* x, int64_t rows, int64_t columns, int64_t stride,
                           float* total);
};

namespace baseline {
extern const ReduceSimd reduce_simd;
}
namespace avx2 {
extern const ReduceSimd reduce_simd;
}
namespace avx512 {
extern const ReduceSimd reduce_simd;
}
namespace avx512_bf16 {
extern const ReduceSimd reduce_simd;
}

}  // namespace vtrain
