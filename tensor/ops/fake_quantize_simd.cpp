// Every level gives the same bits: the product with the reciprocal is rounded by an instruction of
// its own, which no fused multiply-add can swallow, and a code minus its zero point is exact.
#include "tensor/ops/fake_quantize_simd.h"

#include "tensor/simd.h"
#include "tensor/simd_ints.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

/// To the nearest integer, ties to even, whatever the rounding mode.
Vec nearest(Vec v) {
#if defined(__AVX512F__)
  return __builtin_ia32_rndscaleps_mask(v, 8, v, static_cast<uint16_t>(-1), 4);
#elif defined(__AVX2__)
  return __builtin_ia32_roundps256(v, 8);
#else
  return __builtin_ia32_roundps(v, 8);
#endif
}

/// low..high as floats. A NaN comes through.
Vec code(Vec x, const QuantizeStep& s) {
  const Vec q = nearest(x * s.inverse) + s.zero_point;
  return vmin(splat(s.high), vmax(splat(s.low), q));
}
Vec real(Vec x, const QuantizeStep& s) { return (code(x, s) - s.zero_point) * s.scale; }

template <class T>
void forward(const T* x, const QuantizeStep& s, T* y, int64_t n) {
  for_vectors(n, [&](auto at) { at.store_to(y, real(at.load_from(x), s)); });
}

/// Masks are written for so many elements at once: two bytes.
constexpr int kMasked = 16;

/// f(first of the next kMasked elements, how many there are) over n elements.
template <class F>
void for_masked(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kMasked <= n; i += kMasked) f(i, kMasked);
  if (i < n) f(i, n - i);
}
/// f(a vector or its part, its place among the kMasked) over count <= kMasked elements at `first`.
template <class F>
void for_vectors_of(int64_t first, int64_t count, const F& f) {
  for (int at = 0; at < kMasked && at < count; at += kLanes) {
    if (count - at >= kLanes) {
      f(WholeVector{first + at}, at);
    } else {
      f(PartOfVector{first + at, count - at}, at);
    }
  }
}

template <class T>
void forward_inside(const T* x, const QuantizeStep& s, T* y, uint8_t* inside, int64_t n) {
  const Vec low = splat((s.low - s.zero_point) * s.scale),
            high = splat((s.high - s.zero_point) * s.scale);
  for_masked(n, [&](int64_t first, int64_t count) {
    uint32_t bits = 0;
    for_vectors_of(first, count, [&](auto at, int place) {
      const Vec v = at.load_from(x);
      at.store_to(y, real(v, s));
      bits |= bits_of((v >= low) & (v <= high)) << place;
    });
    inside[first / 8] = static_cast<uint8_t>(bits);
    if (count > 8) inside[first / 8 + 1] = static_cast<uint8_t>(bits >> 8);
  });
}

/// Most gradients pass: what is whole is neither read nor written.
template <class T>
void clip(const uint8_t* inside, T* dy, int64_t n) {
  for_masked(n, [&](int64_t first, int64_t count) {
    const uint32_t bits =
        inside[first / 8] | (count > 8 ? static_cast<uint32_t>(inside[first / 8 + 1]) << 8 : 0);
    const uint32_t all = (1U << count) - 1;
    if ((bits & all) == all) return;
    for_vectors_of(first, count, [&](auto at, int place) {
      at.store_to(dy, choose(mask_of(bits >> place), at.load_from(dy), Vec{}));
    });
  });
}

/// In place only what is clamped has to be written.
template <class T>
float learned_grad(const T* x, const QuantizeStep& s, const T* dy, T* dx, int64_t n) {
  const Vec low = splat(s.low), high = splat(s.high);
  Vec sum{};
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x) * s.inverse, slope = at.load_from(dy);
    const IVec is_inside = (v > low) & (v < high);
    const Vec by_scale =
        choose(is_inside, nearest(v) - v, choose(v <= low, low, choose(v >= high, high, v)));
    sum = sum + slope * by_scale;
    if (dx != dy || bits_of(is_inside) != (1U << kLanes) - 1)
      at.store_to(dx, choose(is_inside, slope, Vec{}));
  });
  return sum_lanes(sum);
}

template <class T>
float error(const T* x, const QuantizeStep& s, int64_t n) {
  Vec sum{};
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x);  // 0 behind the end, and 0 has no error
    const Vec off = real(v, s) - v;
    sum = sum + off * off;
  });
  return sum_lanes(sum);
}

bool codes(const float* x, const QuantizeStep& s, uint8_t* q, int64_t n) {
  IVec is_number = IVec{} - 1;
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x);
    is_number = is_number & (v == v);
    store_ints(q, __builtin_convertvector(code(v, s), IVec) & 0xFF, at);
  });
  bool all = true;
  for (int lane = 0; lane < kLanes; ++lane) all = all && is_number[lane] != 0;
  return all;
}

}  // namespace

const FakeQuantizeSimd fake_quantize_simd = {
    {forward<float>, forward_inside<float>, clip<float>, learned_grad<float>, error<float>},
    {forward<BFloat16>, forward_inside<BFloat16>, clip<BFloat16>, learned_grad<BFloat16>,
     error<BFloat16>},
    codes};

}  // namespace vtrain::VTRAIN_LEVEL
