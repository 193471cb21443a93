#pragma once
// The element-wise loops of optimize.h, for f64 in optimize_cpu.cpp and for f32 in
// optimize_simd.cpp, where the compiler turns them into vectors. Internal linkage, for the reason
// given in tensor/simd.h.
#include "tensor/ops/optimize_simd.h"

namespace {

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

template <class T>
void adamw_loop(T* __restrict p, const T* __restrict grad, T* __restrict m, T* __restrict v,
                int64_t n, const vtrain::AdamwStep<T>& step) {
  const vtrain::AdamwStep<T> s = step;
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * s.grad_scale;
    m[i] += s.one_minus_beta1 * (g - m[i]);
    v[i] = s.beta2 * v[i] + s.one_minus_beta2 * g * g;
    p[i] = p[i] * s.decay - s.step_size * m[i] / (root(v[i]) * s.inverse_root + s.eps);
  }
}

/// `buffer` is null without momentum.
template <class T>
void sgd_loop(T* __restrict p, const T* __restrict grad, T* __restrict buffer, int64_t n,
              const vtrain::SgdStep<T>& step) {
  const vtrain::SgdStep<T> s = step;
  if (!buffer) {
    for (int64_t i = 0; i < n; ++i) p[i] -= s.lr * (grad[i] * s.grad_scale + s.weight_decay * p[i]);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const T d = grad[i] * s.grad_scale + s.weight_decay * p[i];
    buffer[i] = s.momentum * buffer[i] + d;
    p[i] -= s.lr * (s.nesterov ? d + s.momentum * buffer[i] : buffer[i]);
  }
}

template <class T>
void ema_loop(const T* __restrict value, T* __restrict average, int64_t n, T decay, T rest) {
  for (int64_t i = 0; i < n; ++i) average[i] = decay * average[i] + rest * value[i];
}

/// Sixteen partial sums, folded in order: one sum would be a chain of dependent additions.
template <class T>
double squares_loop(const T* x, int64_t n) {
  double part[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int lane = 0; lane < 16; ++lane)
      part[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  }
  for (int lane = 0; i < n; ++i, ++lane)
    part[lane] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double sum = 0;
  for (const double each : part) sum += each;
  return sum;
}

}  // namespace
