// Codes widened to 16 bits and multiplied in pairs whose sum has 32: half as many products a vector
// as the 8-bit instruction of these chips, which saturates.
#include "compress/deploy/int8_dots_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

constexpr int kShorts = 2 * kLanes;
typedef short Shorts __attribute__((vector_size(kShorts * sizeof(short))));

Shorts load_shorts(const int16_t* p) {
  Shorts v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

/// a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1]
IVec pairs(Shorts a, Shorts b) {
#if defined(__AVX512F__) && defined(__clang__)
  return reinterpret_cast<IVec>(__builtin_ia32_pmaddwd512(a, b));
#elif defined(__AVX512F__)
  return reinterpret_cast<IVec>(
      __builtin_ia32_pmaddwd512_mask(a, b, IVec{}, static_cast<uint16_t>(-1)));
#elif defined(__AVX2__)
  return reinterpret_cast<IVec>(__builtin_ia32_pmaddwd256(a, b));
#else
  return reinterpret_cast<IVec>(__builtin_ia32_pmaddwd128(a, b));
#endif
}

int32_t sum_of(IVec v) {
  int32_t sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += v[lane];
  return sum;
}

/// `Columns` columns of w at once: a vector of x is read once for all of them.
template <int Columns>
void dot(const int16_t* x, const int16_t* w, int64_t length, int32_t* sums) {
  IVec acc[Columns] = {};
  for (int64_t k = 0; k < length; k += kShorts) {
    const Shorts v = load_shorts(x + k);
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) acc[j] = acc[j] + pairs(v, load_shorts(w + j * length + k));
  }
  for (int j = 0; j < Columns; ++j) sums[j] = sum_of(acc[j]);
}

void dots(const int16_t* x, int64_t rows, const int16_t* w, int64_t columns, int64_t length,
          int32_t* sums) {
  constexpr int kBlock = 8;
  int64_t j = 0;
  for (; j + kBlock <= columns; j += kBlock) {
    for (int64_t i = 0; i < rows; ++i)
      dot<kBlock>(x + i * length, w + j * length, length, sums + i * columns + j);
  }
  for (; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i)
      dot<1>(x + i * length, w + j * length, length, sums + i * columns + j);
  }
}

}  // namespace

const Int8DotsSimd int8_dots_simd = {dots};

}  // namespace vtrain::VTRAIN_LEVEL
