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

/// A pair of x for every lane.
Shorts pair_everywhere(const int16_t* x) {
  int32_t pair;
  __builtin_memcpy(&pair, x, sizeof(pair));
  return reinterpret_cast<Shorts>(pair - IVec{});
}

/// `Rows` rows of x by `Vectors` vectors of columns: each lane has a sum of its own.
template <int Rows, int Vectors>
void block(const int16_t* x, const int16_t* w, int64_t columns, int64_t length, int32_t* sums) {
  IVec acc[Rows][Vectors] = {};
  for (int64_t k = 0; k < length; k += 2, w += 2 * columns) {
    Shorts weights[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) weights[v] = load_shorts(w + v * kShorts);
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      const Shorts taken = pair_everywhere(x + i * length + k);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[i][v] = acc[i][v] + pairs(taken, weights[v]);
    }
  }
  for (int i = 0; i < Rows; ++i) {
    for (int v = 0; v < Vectors; ++v)
      __builtin_memcpy(sums + i * columns + v * kLanes, &acc[i][v], sizeof(IVec));
  }
}

template <int Vectors>
void column_block(const int16_t* x, int64_t rows, const int16_t* w, int64_t columns, int64_t length,
                  int32_t* sums) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4)
    block<4, Vectors>(x + i * length, w, columns, length, sums + i * columns);
  for (; i < rows; ++i) block<1, Vectors>(x + i * length, w, columns, length, sums + i * columns);
}

void dots(const int16_t* x, int64_t rows, const int16_t* w, int64_t columns, int64_t length,
          int32_t* sums) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    column_block<2>(x, rows, w + 2 * j, columns, length, sums + j);
  for (; j < columns; j += kLanes) column_block<1>(x, rows, w + 2 * j, columns, length, sums + j);
}

}  // namespace

const Int8DotsSimd int8_dots_simd = {dots};

}  // namespace vtrain::VTRAIN_LEVEL
