#pragma once
// Vectors for the *_simd.cpp files, which are compiled once per instruction level (CMakeLists.txt).
// Everything here has internal linkage, and those files include no standard C++ header with inline
// functions: an inline function compiled for AVX-512 could otherwise be the copy that the linker
// keeps for everybody.
//
// A vector is GCC's and clang's vector extension, so +, -, *, / and comparisons are operators.
// kLanes floats fill one register.
#include <cstdint>

#include "tensor/bfloat16.h"

namespace {

using vtrain::BFloat16;

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

/// The first n lanes, n in [0, kLanes]; the others are not touched in memory and read as 0.
#if defined(__AVX512F__)
[[maybe_unused]] inline Vec load_first(const float* p, int64_t n) {
  return __builtin_ia32_loadups512_mask(p, Vec{}, static_cast<uint16_t>((1U << n) - 1));
}
[[maybe_unused]] inline void store_first(float* p, Vec v, int64_t n) {
  __builtin_ia32_storeups512_mask(p, v, static_cast<uint16_t>((1U << n) - 1));
}
#elif defined(__AVX2__)
[[maybe_unused]] inline IVec first(int64_t n) {
  return IVec{0, 1, 2, 3, 4, 5, 6, 7} < (static_cast<int32_t>(n) - IVec{});
}
[[maybe_unused]] inline Vec load_first(const float* p, int64_t n) {
  return __builtin_ia32_maskloadps256(reinterpret_cast<const Vec*>(p), first(n));
}
[[maybe_unused]] inline void store_first(float* p, Vec v, int64_t n) {
  __builtin_ia32_maskstoreps256(reinterpret_cast<Vec*>(p), first(n), v);
}
#else
[[maybe_unused]] inline Vec load_first(const float* p, int64_t n) {
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
[[maybe_unused]] inline void store_first(float* p, Vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif

[[maybe_unused]] inline Vec choose(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }

/// kLanes BFloat16s fill half a register; they are widened when read and rounded to nearest even
/// when written. The instruction of the bf16 level takes numbers below 2^-126 for 0.
typedef uint16_t Halves __attribute__((vector_size(kLanes * sizeof(uint16_t))));
typedef uint32_t UVec __attribute__((vector_size(kLanes * sizeof(uint32_t))));

[[maybe_unused]] inline Vec widened(Halves h) {
#if defined(__AVX2__) && !defined(__clang__)
  UVec word;  // GCC 12 makes four instructions of the conversion
  asm("vpmovzxwd %1, %0" : "=v"(word) : "vm"(h));
#else
  const UVec word = __builtin_convertvector(h, UVec);
#endif
  return reinterpret_cast<Vec>(word << 16);
}
[[maybe_unused]] inline Halves rounded(Vec v) {
#if defined(__AVX512BF16__)
  Halves h;
  asm("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"(v));
  return h;
#else
  const UVec word = reinterpret_cast<UVec>(v);
  const UVec even = word + 0x7fff + ((word >> 16) & 1);
  // A NaN, whose rounding could be infinite, keeps its upper half and becomes quiet.
  const UVec kept = reinterpret_cast<UVec>(
      choose(v == v, reinterpret_cast<Vec>(even), reinterpret_cast<Vec>(word | 0x400000)));
  return __builtin_convertvector(kept >> 16, Halves);
#endif
}
[[maybe_unused]] inline Vec load(const BFloat16* p) {
  Halves h;
  __builtin_memcpy(&h, p, sizeof(h));
  return widened(h);
}
[[maybe_unused]] inline void store(BFloat16* p, Vec v) {
  const Halves h = rounded(v);
  __builtin_memcpy(static_cast<void*>(p), &h, sizeof(h));
}
#if defined(__AVX512F__)
typedef uint16_t HalvesInMemory __attribute__((vector_size(32), aligned(2), may_alias));
[[maybe_unused]] inline Vec load_first(const BFloat16* p, int64_t n) {
  Halves h;
  asm("vmovdqu16 %1, %0%{%2%}%{z%}"
      : "=v"(h)
      : "m"(*reinterpret_cast<const HalvesInMemory*>(p)),
        "Yk"(static_cast<uint16_t>((1U << n) - 1)));
  return widened(h);
}
[[maybe_unused]] inline void store_first(BFloat16* p, Vec v, int64_t n) {
  asm("vmovdqu16 %1, %0%{%2%}"
      : "+m"(*reinterpret_cast<HalvesInMemory*>(p))
      : "v"(rounded(v)), "Yk"(static_cast<uint16_t>((1U << n) - 1)));
}
#else
[[maybe_unused]] inline Vec load_first(const BFloat16* p, int64_t n) {
  Halves h{};
  __builtin_memcpy(&h, p, static_cast<uint64_t>(n) * sizeof(BFloat16));
  return widened(h);
}
[[maybe_unused]] inline void store_first(BFloat16* p, Vec v, int64_t n) {
  const Halves h = rounded(v);
  __builtin_memcpy(static_cast<void*>(p), &h, static_cast<uint64_t>(n) * sizeof(BFloat16));
}
#endif

/// 0, 1, 2, ...
[[maybe_unused]] inline IVec lane_numbers() {
#if defined(__AVX512F__)
  return IVec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
  return IVec{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return IVec{0, 1, 2, 3};
#endif
}
// A NaN in the second argument comes through, one in the first does not (x86's minps and maxps).
[[maybe_unused]] inline Vec vmin(Vec a, Vec b) { return a < b ? a : b; }
[[maybe_unused]] inline Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
[[maybe_unused]] inline Vec vabs(Vec a) {
  return reinterpret_cast<Vec>(reinterpret_cast<IVec>(a) & 0x7fffffff);
}

/// Lanes by constant index into the 2 * kLanes lanes of (a, b): `Index` maps a lane number to that
/// index.
template <int... Lane>
struct LaneList {};
template <int N, int... Lane>
struct FirstLanes : FirstLanes<N - 1, N - 1, Lane...> {};
template <int... Lane>
struct FirstLanes<0, Lane...> {
  using type = LaneList<Lane...>;
};
template <class Index, int... Lane>
inline Vec shuffle(Vec a, Vec b, LaneList<Lane...>) {
  return __builtin_shufflevector(a, b, Index::at(Lane)...);
}
template <class Index>
inline Vec shuffle(Vec a, Vec b) {
  return shuffle<Index>(a, b, typename FirstLanes<kLanes>::type{});
}
template <int Step>
struct Across {  // each lane's partner at distance Step
  static constexpr int at(int lane) { return lane ^ Step; }
};
template <int Step>
struct LowHalves {
  static constexpr int at(int lane) { return lane & Step ? lane - Step + kLanes : lane; }
};
template <int Step>
struct HighHalves {
  static constexpr int at(int lane) { return lane & Step ? lane + kLanes : lane + Step; }
};

/// Sum and maximum of the lanes, in a fixed order: halves are folded onto each other.
template <int Step = kLanes / 2>
[[maybe_unused]] inline float sum_lanes(Vec v) {
  v = v + shuffle<Across<Step>>(v, v);
  if constexpr (Step == 1) {
    return v[0];
  } else {
    return sum_lanes<Step / 2>(v);
  }
}
template <int Step = kLanes / 2>
[[maybe_unused]] inline float max_lanes(Vec v) {
  v = vmax(v, shuffle<Across<Step>>(v, v));
  if constexpr (Step == 1) {
    return v[0];
  } else {
    return max_lanes<Step / 2>(v);
  }
}

/// rows[i][j] <-> rows[j][i] of a kLanes x kLanes block, by halving.
template <int Step = kLanes / 2>
[[maybe_unused]] inline void transpose_lanes(Vec (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & Step) continue;
    const Vec a = rows[i], b = rows[i + Step];
    rows[i] = shuffle<LowHalves<Step>>(a, b);
    rows[i + Step] = shuffle<HighHalves<Step>>(a, b);
  }
  if constexpr (Step > 1) transpose_lanes<Step / 2>(rows);
}

/// exp(x) within 2 ulp for x in [-87, 0], 0 below, NaN for NaN. Not for x > 88.
/// x = k ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts so that r keeps its low bits; e^r by a
/// polynomial of degree 6.
[[maybe_unused]] inline Vec vexp_nonpositive(Vec x) {
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
  return choose(x < splat(-87.0f), Vec{}, p * reinterpret_cast<Vec>(bits));
}

/// exp(x) within 2 ulp for x in [-87, 88]; 0 below, near the largest float above, NaN for NaN.
[[maybe_unused]] inline Vec vexp(Vec x) { return vexp_nonpositive(vmin(splat(88.0f), x)); }

/// kLanes elements at `first` of an array, or what is left of it.
struct WholeVector {
  int64_t first;
  template <class T>  // float or BFloat16
  Vec load_from(const T* p) const {
    return load(p + first);
  }
  template <class T>
  void store_to(T* p, Vec v) const {
    store(p + first, v);
  }
  Vec or_else(Vec v, float) const { return v; }
};
struct PartOfVector {
  int64_t first, count;
  template <class T>
  Vec load_from(const T* p) const {
    return load_first(p + first, count);
  }
  template <class T>
  void store_to(T* p, Vec v) const {
    store_first(p + first, v, count);
  }
  Vec or_else(Vec v, float rest) const {  // `rest` in the lanes behind the end
    return choose(lane_numbers() < static_cast<int32_t>(count) - IVec{}, v, splat(rest));
  }
};
/// f(vector) over an array of n elements.
template <class F>
[[maybe_unused]] inline void for_vectors(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(WholeVector{i});
  if (i < n) f(PartOfVector{i, n - i});
}

}  // namespace
