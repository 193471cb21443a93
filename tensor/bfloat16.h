#pragma once
// Included by the *_simd.cpp files: nothing here may leave a symbol (tensor/simd.h says why), so
// functions are inlined always.
#include <cstdint>

namespace vtrain {

/// Upper half of a float: 8 bits of exponent, 8 of precision. A storage type: kernels read it into
/// float, compute there, and round to nearest even when they write.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  // Implicit both ways, so that one template serves a float and its short form.
  [[gnu::always_inline]] BFloat16(float x) {  // NOLINT(google-explicit-constructor)
    const auto word = __builtin_bit_cast(uint32_t, x);
    const bool is_nan = (word & 0x7fffffff) > 0x7f800000;  // rounding could make it infinite
    bits = static_cast<uint16_t>((is_nan ? word | 0x400000 : word + 0x7fff + ((word >> 16) & 1)) >>
                                 16);
  }
  [[gnu::always_inline]] operator float() const {  // NOLINT(google-explicit-constructor)
    return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
};

}  // namespace vtrain
