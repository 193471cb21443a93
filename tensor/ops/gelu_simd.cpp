#include "tensor/ops/gelu_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

/// exp(-x^2 / 2) and Phi(-|x|) = exp(-x^2 / 2) * t * polynomial(t), t = 1 / (1 + 0.24 |x|): the
/// form of Hastings (Abramowitz and Stegun 7.1.26) with a Chebyshev fit of our own on |x| <= 13.3.
/// The polynomial is off by at most 9.2e-8, so that both tails keep their relative precision;
/// behind 13.2 the exponential is 0.
struct Normal {
  Vec bell, tail;
};
Normal normal(Vec x) {
  const Vec t = 1.0f / (vabs(x) * 0.24f + 1.0f);
  Vec p = splat(-0.0521702582128f);
  p = p * t + 0.148613830545f;
  p = p * t - 0.0570805844502f;
  p = p * t + 0.109024472281f;
  p = p * t + 0.0691808206891f;
  p = p * t + 0.0908097885781f;
  p = p * t + 0.0958958943076f;
  p = p * t + 0.0957259448425f;
  const Vec bell = vexp_nonpositive(x * x * -0.5f);
  return {bell, bell * (p * t)};
}

template <class T>
void forward(const T* x, T* y, int64_t n) {
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x);
    const Vec size =
        vmin(splat(20.0f), vabs(v));  // the tail is 0 there: keeps infinity from 0 * infinity
    at.store_to(y, vmax(Vec{}, v) - size * normal(v).tail);
  });
}

template <class T>
void grad(const T* x, const T* dy, T* dx, int64_t n) {
  for_vectors(n, [&](auto at) {
    const Vec v = at.load_from(x);
    const Normal f = normal(v);
    const Vec below = choose(v > Vec{}, 1.0f - f.tail, f.tail);
    const Vec bounded = vmax(splat(-20.0f), vmin(splat(20.0f), v));
    at.store_to(dx, at.load_from(dy) * (below + bounded * f.bell * 0.398942280f));
  });
}

}  // namespace

const GeluSimd gelu_simd = {{forward<float>, grad<float>}, {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
