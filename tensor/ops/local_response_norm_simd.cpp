// A row's squares are written between margins of zeros, so that the sum over neighbours is one of
// shifted loads.
#include "tensor/ops/local_response_norm_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

Vec square_root(Vec v) {
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}

/// d^-beta for d > 0; 3/4, which everybody uses, takes two square roots instead of a power.
Vec inverse_power(Vec d, float beta) {
  if (beta == 0.75f) {
    const Vec root = square_root(d);
    return 1.0f / (root * square_root(root));
  }
  for (int i = 0; i < kLanes; ++i) d[i] = __builtin_powf(d[i], -beta);
  return d;
}

/// padded[left + c] = value(vector at c), zeros in front and behind.
template <class F>
void fill_between_zeros(const LocalResponseNormRow& row, int64_t left, float* padded,
                        const F& value) {
  const int64_t width = row.channels + row.before + row.behind;
  for (int64_t i = 0; i < left; ++i) padded[i] = 0;
  for (int64_t i = left + row.channels; i < width; ++i) padded[i] = 0;
  for_vectors(row.channels, [&](auto at) { at.store_to(padded + left, value(at)); });
}

template <class At>
Vec sum_of_neighbours(const LocalResponseNormRow& row, const float* padded, At at) {
  Vec sum{};
  for (int64_t shift = 0; shift <= row.before + row.behind; ++shift)
    sum += at.load_from(padded + shift);
  return sum;
}

template <class At>
Vec denominator(const LocalResponseNormRow& row, const float* squares, At at) {
  // Behind the end of a row anything but 0 will do.
  return at.or_else(sum_of_neighbours(row, squares, at) * row.share + row.k, 1.0f);
}

template <class T>
void forward(const LocalResponseNormRow& row, const T* x, int64_t rows, float* scratch, T* y) {
  for (int64_t r = 0; r < rows; ++r, x += row.channels, y += row.channels) {
    fill_between_zeros(row, row.before, scratch, [&](auto at) {
      const Vec v = at.load_from(x);
      return v * v;
    });
    for_vectors(row.channels, [&](auto at) {
      at.store_to(y, at.load_from(x) * inverse_power(denominator(row, scratch, at), row.beta));
    });
  }
}

template <class T>
void grad(const LocalResponseNormRow& row, const T* x, const T* dy, int64_t rows, float* scratch,
          T* dx) {
  float* const shares = scratch + row.channels + row.before + row.behind;
  for (int64_t r = 0; r < rows; ++r, x += row.channels, dy += row.channels, dx += row.channels) {
    fill_between_zeros(row, row.before, scratch, [&](auto at) {
      const Vec v = at.load_from(x);
      return v * v;
    });
    // c is around c' where c' is around c mirrored.
    fill_between_zeros(row, row.behind, shares, [&](auto at) {
      const Vec d = denominator(row, scratch, at);
      return at.load_from(dy) * at.load_from(x) * inverse_power(d, row.beta) / d;
    });
    for_vectors(row.channels, [&](auto at) {
      const Vec own = inverse_power(denominator(row, scratch, at), row.beta);
      const Vec others = sum_of_neighbours(row, shares, at) * (2 * row.share * row.beta);
      at.store_to(dx, at.load_from(dy) * own - at.load_from(x) * others);
    });
  }
}

}  // namespace

const LocalResponseNormSimd local_response_norm_simd = {{forward<float>, grad<float>},
                                                        {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
