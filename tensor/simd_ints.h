#pragma once
// Beside tensor/simd.h: masks and indices in memory, of one or four bytes, as lanes of 32 bits, and
// masks of one bit.
#include "tensor/simd.h"

namespace {

typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

/// kLanes integers at `at` of an array, or what is left of it and 0 behind.
[[maybe_unused]] inline IVec load_ints(const uint8_t* p, WholeVector at) {
  Bytes b;
  __builtin_memcpy(&b, p + at.first, sizeof(b));
  return __builtin_convertvector(b, IVec);
}
[[maybe_unused]] inline IVec load_ints(const uint8_t* p, PartOfVector at) {
  Bytes b{};
  __builtin_memcpy(&b, p + at.first, static_cast<uint64_t>(at.count));
  return __builtin_convertvector(b, IVec);
}
[[maybe_unused]] inline IVec load_ints(const int32_t* p, WholeVector at) {
  IVec v;
  __builtin_memcpy(&v, p + at.first, sizeof(v));
  return v;
}
[[maybe_unused]] inline IVec load_ints(const int32_t* p, PartOfVector at) {
  IVec v{};
  __builtin_memcpy(&v, p + at.first, static_cast<uint64_t>(at.count) * sizeof(int32_t));
  return v;
}

[[maybe_unused]] inline void store_ints(uint8_t* p, IVec v, WholeVector at) {
  const Bytes b = __builtin_convertvector(v, Bytes);
  __builtin_memcpy(p + at.first, &b, sizeof(b));
}
[[maybe_unused]] inline void store_ints(uint8_t* p, IVec v, PartOfVector at) {
  const Bytes b = __builtin_convertvector(v, Bytes);
  __builtin_memcpy(p + at.first, &b, static_cast<uint64_t>(at.count));
}
[[maybe_unused]] inline void store_ints(int32_t* p, IVec v, WholeVector at) {
  __builtin_memcpy(p + at.first, &v, sizeof(v));
}
[[maybe_unused]] inline void store_ints(int32_t* p, IVec v, PartOfVector at) {
  __builtin_memcpy(p + at.first, &v, static_cast<uint64_t>(at.count) * sizeof(int32_t));
}

/// Bit i says whether lane i of a mask, -1 or 0, is set.
[[maybe_unused]] inline uint32_t bits_of(IVec mask) {
#if defined(__AVX512F__)
  return __builtin_ia32_ptestmd512(mask, mask, static_cast<uint16_t>(-1));
#elif defined(__AVX2__)
  return static_cast<uint32_t>(__builtin_ia32_movmskps256(reinterpret_cast<Vec>(mask)));
#else
  return static_cast<uint32_t>(__builtin_ia32_movmskps(reinterpret_cast<Vec>(mask)));
#endif
}
/// The mask of which bits_of has the lowest bits of `bits`.
[[maybe_unused]] inline IVec mask_of(uint32_t bits) {
  return (((static_cast<int32_t>(bits) - IVec{}) >> lane_numbers()) & 1) != 0;
}

}  // namespace
