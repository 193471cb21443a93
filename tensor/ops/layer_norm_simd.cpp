#include "tensor/ops/layer_norm_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

template <class T>
void forward(const T* x, const float* weight, const float* bias, int64_t rows, int64_t channels,
             float eps, T* y, float* mean, float* rstd) {
  const float share = 1.0f / static_cast<float>(channels);
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    Vec sum{}, squares{};
    for_vectors(channels, [&](auto at) { sum += at.load_from(x); });
    const float mu = sum_lanes(sum) * share;
    for_vectors(channels, [&](auto at) {
      const Vec centred = at.or_else(at.load_from(x) - mu, 0.0f);
      squares += centred * centred;
    });
    const float inverse = 1.0f / __builtin_sqrtf(sum_lanes(squares) * share + eps);
    for_vectors(channels, [&](auto at) {
      Vec v = (at.load_from(x) - mu) * inverse;
      if (weight) v *= at.load_from(weight);
      if (bias) v += at.load_from(bias);
      at.store_to(y, v);
    });
    mean[r] = mu;
    rstd[r] = inverse;
  }
}

/// R rows at once, so that the column sums are read and written once for all of them.
template <int R, class T>
void grad_rows(const T* x, const float* weight, const float* mean, const float* rstd, const T* dy,
               int64_t channels, T* dx, float* dweight, float* dbias) {
  const float share = 1.0f / static_cast<float>(channels);
  Vec g_sum[R] = {}, dot[R] = {};
  for_vectors(channels, [&](auto at) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      Vec g = at.load_from(dy + r * channels);
      if (weight) g *= at.load_from(weight);
      g_sum[r] += g;  // behind the end dy is 0
      dot[r] += g * (at.load_from(x + r * channels) - mean[r]);
    }
  });
  float g_mean[R], dot_mean[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    g_mean[r] = sum_lanes(g_sum[r]) * share;
    dot_mean[r] = sum_lanes(dot[r]) * rstd[r] * share;
  }
  for_vectors(channels, [&](auto at) {
    Vec weight_sum = at.load_from(dweight), bias_sum = at.load_from(dbias);
    const Vec w = weight ? at.load_from(weight) : splat(1.0f);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const Vec slope = at.load_from(dy + r * channels);
      const Vec normalised = (at.load_from(x + r * channels) - mean[r]) * rstd[r];
      at.store_to(dx + r * channels, (slope * w - g_mean[r] - normalised * dot_mean[r]) * rstd[r]);
      weight_sum += slope * normalised;
      bias_sum += slope;
    }
    at.store_to(dweight, weight_sum);
    at.store_to(dbias, bias_sum);
  });
}

template <class T>
void grad(const T* x, const float* weight, const float* mean, const float* rstd, const T* dy,
          int64_t rows, int64_t channels, T* dx, float* dweight, float* dbias) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    grad_rows<4>(x + r * channels, weight, mean + r, rstd + r, dy + r * channels, channels,
                 dx + r * channels, dweight, dbias);
  }
  for (; r < rows; ++r) {
    grad_rows<1>(x + r * channels, weight, mean + r, rstd + r, dy + r * channels, channels,
                 dx + r * channels, dweight, dbias);
  }
}

}  // namespace

const LayerNormSimd layer_norm_simd = {{forward<float>, grad<float>},
                                       {forward<BFloat16>, grad<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
