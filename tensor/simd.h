#pragma once
// Vectors for the *_simd.cpp files, which are compiled once per instruction level (CMakeLists.txt). Everything here has internal
// linkage, and those files include no standard C++ header with inline functions: an inline function compiled for AVX-512 could
// otherwise be the copy that the linker keeps for everybody.
//
// A vector is GCC's and clang's vector extension, so +, -, *, / and comparisons are operators. kLanes floats fill one register.
#include <cstdint>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t IVec __attribute__((vector_size(kLanes * sizeof(int32_t))));

[[maybe_unused]] inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
[[maybe_unused]] inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
[[maybe_unused]] inline Vec splat(float x) { return x - Vec{}; }
[[maybe_unused]] inline Vec load_first(const float* p, int64_t n) {  // the rest is 0
  Vec v{};
  __builtin_memcpy(&v, p, static_cast<unsigned long>(n) * sizeof(float));
  return v;
}
[[maybe_unused]] inline void store_first(float* p, Vec v, int64_t n) {
  __builtin_memcpy(p, &v, static_cast<unsigned long>(n) * sizeof(float));
}
[[maybe_unused]] inline Vec choose(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }
[[maybe_unused]] inline Vec vmin(Vec a, Vec b) { return a < b ? a : b; }
[[maybe_unused]] inline Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
[[maybe_unused]] inline Vec vabs(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<IVec>(a) & 0x7fffffff); }

/// Sum and maximum of the lanes, in a fixed order: halves are folded onto each other.
[[maybe_unused]] inline float sum_lanes(Vec v) {
  float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
[[maybe_unused]] inline float max_lanes(Vec v) {
  float lane[kLanes];
  store(lane, v);
  float best = lane[0];
  for (int i = 1; i < kLanes; ++i) best = lane[i] > best ? lane[i] : best;
  return best;
}

/// exp(x) within 2 ulp for x in [-87, 88]; below it is 0-like (1e-38), above it saturates near the largest float.
/// x = k ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts so that r keeps its low bits; e^r by a polynomial of degree 6.
[[maybe_unused]] inline Vec vexp(Vec x) {
  x = vmax(vmin(x, splat(88.0f)), splat(-87.0f));
  const Vec shifter = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const Vec k = (x * 1.44269504f + shifter) - shifter;
  const Vec r = (x - k * 0.693359375f) - k * -2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IVec bits = (__builtin_convertvector(k, IVec) + 127) << 23;
  return p * reinterpret_cast<Vec>(bits);
}

}  // namespace
