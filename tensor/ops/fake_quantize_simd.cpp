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

template <class T>
void grad(const T* x, const QuantizeStep& s, const T* dy, T* dx, int64_t n) {
  const Vec low = splat((s.low - s.zero_point) * s.scale),
            high = splat((s.high - s.zero_point) * s.scale);
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x);
    at.store_to(dx, choose((v >= low) & (v <= high), at.load_from(dy), Vec{}));
  });
}

/// x / scale.
Vec steps_of(Vec x, const QuantizeStep& s) { return x * s.inverse; }

template <class T>
void scale_terms(const T* x, const QuantizeStep& s, const T* dy, float* terms, int64_t n) {
  const Vec low = splat(s.low), high = splat(s.high);
  for_vectors(n, [&](auto at) {
    const Vec v = steps_of(at.load_from(x), s);
    const Vec slope = choose(v <= low, low, choose(v >= high, high, nearest(v) - v));
    at.store_to(terms, at.load_from(dy) * slope);
  });
}

template <class T>
void learned_grad(const T* x, const QuantizeStep& s, const T* dy, T* dx, int64_t n) {
  for_vectors(n, [&](auto at) {
    const Vec v = steps_of(at.load_from(x), s);
    at.store_to(dx, choose((v > splat(s.low)) & (v < splat(s.high)), at.load_from(dy), Vec{}));
  });
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
    {forward<float>, grad<float>, scale_terms<float>, learned_grad<float>, error<float>},
    {forward<BFloat16>, grad<BFloat16>, scale_terms<BFloat16>, learned_grad<BFloat16>,
     error<BFloat16>},
    codes};

}  // namespace vtrain::VTRAIN_LEVEL
