#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// One scale with its code range, as the loops read it.
struct QuantizeStep {
  float scale, inverse;
  float low, high, zero_point;  // codes
};

/// On n elements of T: float, or BFloat16 that is widened.
template <class T>
struct FakeQuantizeLoops {
  void (*forward)(const T* x, const QuantizeStep& step, T* y, int64_t n);
  /// Also sets bit i of `inside`, from its first byte on, if element i is not clamped.
  void (*forward_inside)(const T* x, const QuantizeStep& step, T* y, uint8_t* inside, int64_t n);
  /// dy becomes 0 where `inside` has no bit.
  void (*clip)(const uint8_t* inside, T* dy, int64_t n);
  /// Writes dx, which may be dy, and gives the sum of the scale's terms, in f32: for a few thousand
  /// elements.
  float (*learned_grad)(const T* x, const QuantizeStep& step, const T* dy, T* dx, int64_t n);
  /// The sum of squared errors, in f32: for a few thousand elements.
  float (*error)(const T* x, const QuantizeStep& step, int64_t n);
};
struct FakeQuantizeSimd {
  FakeQuantizeLoops<float> f32;
  FakeQuantizeLoops<BFloat16> bf16;
  /// The lowest byte of each code: i8 and u8 alike. Returns false if an x is not a number.
  bool (*codes)(const float* x, const QuantizeStep& step, uint8_t* q, int64_t n);
};

namespace baseline {
extern const FakeQuantizeSimd fake_quantize_simd;
}
namespace avx2 {
extern const FakeQuantizeSimd fake_quantize_simd;
}
namespace avx512 {
extern const FakeQuantizeSimd fake_quantize_simd;
}
namespace avx512_bf16 {
extern const FakeQuantizeSimd fake_quantize_simd;
}

}  // namespace vtrain
