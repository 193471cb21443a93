#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// What an element of a column goes through: act((x - mean) * scale + shift [+ residual]). Vectors
/// have one float per column.
struct BatchNormColumns {
  const float *mean, *scale, *shift;
};
/// The gradient's mask: none, from v = (x - mean) * scale + shift, 0 < v [< 6], or from the output,
/// 0 < y [< 6].
enum class BatchNormMask { kNone, kInput, kInputBelow6, kAbove0, kAbove0Below6 };
enum class BatchNormClamp { kNone, kAbove0, kAbove0Below6 };

/// On `rows` contiguous rows of `width` columns of T: float, or BFloat16 that is widened.
template <class T>
struct BatchNormLoops {
  /// Mean and sum of squared deviations from it, per column. `sums` is room for 2 width floats.
  void (*statistics)(const T* x, int64_t rows, int64_t width, float* sums, double* mean,
                     double* squares);
  void (*forward)(const T* x, const T* residual, int64_t rows, int64_t width,
                  const BatchNormColumns& columns, BatchNormClamp clamp, T* y);
  /// g = dy where the mask lets it through, else 0, written to `g` unless that is null; adds sums
  /// of g to totals[column] and of g * (x - mean) to totals[width + column]. `sums` as above.
  void (*grad_sums)(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
                    const BatchNormColumns& columns, BatchNormMask mask, T* g, float* sums,
                    double* totals);
  /// dx = g * columns.scale + (x - mean) * slope + offset.
  void (*grad)(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
               const BatchNormColumns& columns, const float* slope, const float* offset,
               BatchNormMask mask, T* dx);
};

struct BatchNormSimd {
  BatchNormLoops<float> f32;
  BatchNormLoops<BFloat16> bf16;
};

namespace baseline {
extern const BatchNormSimd batch_norm_simd;
}
namespace avx2 {
extern const BatchNormSimd batch_norm_simd;
}
namespace avx512 {
extern const BatchNormSimd batch_norm_simd;
}
namespace avx512_bf16 {
extern const BatchNormSimd batch_norm_simd;
}

}  // namespace vtrain
