#include "tensor/ops/softmax_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class T>
float row_max(const T* x, int64_t n) {
  Vec top = splat(-__builtin_inff());
  for_vectors(n, [&](auto at) { top = vmax(top, at.or_else(at.load_from(x), -__builtin_inff())); });
  return max_lanes(top);
}

/// y keeps the exponentials until their sum is known, but in bf16, where that would round twice:
/// they are worked out again.
template <class T>
void forward(const T* x, int64_t rows, int64_t n, T* y) {
  constexpr bool kKeeps = sizeof(T) == sizeof(float);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const float top = row_max(x, n);
    Vec sum{};
    for_vectors(n, [&](auto at) {
      const Vec e = vexp_nonpositive(at.load_from(x) - top);
      sum += at.or_else(e, 0.0f);
      if constexpr (kKeeps) at.store_to(y, e);
    });
    const float inverse = 1.0f / sum_lanes(sum);
    for_vectors(n, [&](auto at) {
      const Vec e = kKeeps ? at.load_from(y) : vexp_nonpositive(at.load_from(x) - top);
      at.store_to(y, e * inverse);
    });
  }
}

template <class T>
void grad(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for (int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    Vec products{};
    for_vectors(n, [&](auto at) { products += at.load_from(y) * at.load_from(dy); });
    const float dot = sum_lanes(products);
    for_vectors(n, [&](auto at) { at.store_to(dx, at.load_from(y) * (at.load_from(dy) - dot)); });
  }
}

template <class T>
void log_forward(const T* x, int64_t rows, int64_t n, T* y) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const float top = row_max(x, n);
    Vec sum{};
    for_vectors(n,
                [&](auto at) { sum += at.or_else(vexp_nonpositive(at.load_from(x) - top), 0.0f); });
    const float log_sum = __builtin_logf(sum_lanes(sum));
    for_vectors(n, [&](auto at) { at.store_to(y, at.load_from(x) - top - log_sum); });
  }
}

template <class T>
void log_grad(const T* y, const T* dy, int64_t rows, int64_t n, T* dx) {
  for (int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    Vec slopes{};
    for_vectors(n, [&](auto at) { slopes += at.load_from(dy); });
    const float sum = sum_lanes(slopes);
    for_vectors(n,
                [&](auto at) { at.store_to(dx, at.load_from(dy) - vexp(at.load_from(y)) * sum); });
  }
}

}  // namespace

const SoftmaxSimd softmax_simd = {
    {forward<float>, grad<float>, log_forward<float>, log_grad<float>},
    {forward<BFloat16>, grad<BFloat16>, log_forward<BFloat16>, log_grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
