#include "tensor/ops/softmax_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

float row_max(const float* x, int64_t n) {
  Vec top = splat(-__builtin_inff());
  for_vectors(n, [&](auto at) { top = vmax(top, at.or_else(at.load_from(x), -__builtin_inff())); });
  return max_lanes(top);
}

void forward(const float* x, int64_t rows, int64_t n, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const float top = row_max(x, n);
    Vec sum{};
    for_vectors(n, [&](auto at) {
      const Vec e = vexp_nonpositive(at.load_from(x) - top);
      sum += at.or_else(e, 0.0f);
      at.store_to(y, e);
    });
    const float inverse = 1.0f / sum_lanes(sum);
    for_vectors(n, [&](auto at) { at.store_to(y, at.load_from(y) * inverse); });
  }
}

void grad(const float* y, const float* dy, int64_t rows, int64_t n, float* dx) {
  for (int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    Vec products{};
    for_vectors(n, [&](auto at) { products += at.load_from(y) * at.load_from(dy); });
    const float dot = sum_lanes(products);
    for_vectors(n, [&](auto at) { at.store_to(dx, at.load_from(y) * (at.load_from(dy) - dot)); });
  }
}

void log_forward(const float* x, int64_t rows, int64_t n, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const float top = row_max(x, n);
    Vec sum{};
    for_vectors(n,
                [&](auto at) { sum += at.or_else(vexp_nonpositive(at.load_from(x) - top), 0.0f); });
    const float log_sum = __builtin_logf(sum_lanes(sum));
    for_vectors(n, [&](auto at) { at.store_to(y, at.load_from(x) - top - log_sum); });
  }
}

void log_grad(const float* y, const float* dy, int64_t rows, int64_t n, float* dx) {
  for (int64_t r = 0; r < rows; ++r, y += n, dy += n, dx += n) {
    Vec slopes{};
    for_vectors(n, [&](auto at) { slopes += at.load_from(dy); });
    const float sum = sum_lanes(slopes);
    for_vectors(n,
                [&](auto at) { at.store_to(dx, at.load_from(dy) - vexp(at.load_from(y)) * sum); });
  }
}

}  // namespace

const SoftmaxSimd softmax_simd = {forward, grad, log_forward, log_grad};

}  // namespace vtrain::VTRAIN_LEVEL
