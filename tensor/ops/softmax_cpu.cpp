#include <algorithm>
#include <cmath>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/softmax.h"
#include "tensor/ops/softmax_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;

const SoftmaxSimd& simd() {
  return by_level(baseline::softmax_simd, avx2::softmax_simd, avx512::softmax_simd,
                  avx512_bf16::softmax_simd);
}

/// A contiguous tensor as (outer, n, inner) around `dim`: slice s starts at start(s) and has n
/// elements, `inner` apart.
struct Slices {
  Slices(const Shape& shape, int dim) {
    const auto axis = static_cast<size_t>(dim);
    for (size_t i = 0; i < axis; ++i) outer *= shape[i];
    for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
    n = shape[axis];
  }
  int64_t count() const { return n > 0 ? outer * inner : 0; }
  int64_t grain() const { return std::max<int64_t>(kGrainElements / std::max<int64_t>(n, 1), 1); }
  int64_t start(int64_t slice) const { return slice / inner * n * inner + slice % inner; }
  int64_t outer = 1, n = 0, inner = 1;
};

namespace reference {
template <class T>
T max_of(const T* x, const Slices& s) {
  T top = x[0];
  for (int64_t i = 1; i < s.n; ++i) top = std::max(top, x[i * s.inner]);
  return top;
}

template <class T>
void forward(const T* x, const Slices& s, T* y) {
  const T top = max_of(x, s);
  T sum = 0;
  for (int64_t i = 0; i < s.n; ++i) sum += y[i * s.inner] = std::exp(x[i * s.inner] - top);
  for (int64_t i = 0; i < s.n; ++i) y[i * s.inner] /= sum;
}

template <class T>
void grad(const T* y, const T* dy, const Slices& s, T* dx) {
  T dot = 0;
  for (int64_t i = 0; i < s.n; ++i) dot += y[i * s.inner] * dy[i * s.inner];
  for (int64_t i = 0; i < s.n; ++i) dx[i * s.inner] = y[i * s.inner] * (dy[i * s.inner] - dot);
}

template <class T>
void log_forward(const T* x, const Slices& s, T* y) {
  const T top = max_of(x, s);
  T sum = 0;
  for (int64_t i = 0; i < s.n; ++i) sum += std::exp(x[i * s.inner] - top);
  const T log_sum = std::log(sum);
  for (int64_t i = 0; i < s.n; ++i) y[i * s.inner] = x[i * s.inner] - top - log_sum;
}

template <class T>
void log_grad(const T* y, const T* dy, const Slices& s, T* dx) {
  T sum = 0;
  for (int64_t i = 0; i < s.n; ++i) sum += dy[i * s.inner];
  for (int64_t i = 0; i < s.n; ++i)
    dx[i * s.inner] = dy[i * s.inner] - std::exp(y[i * s.inner]) * sum;
}
}  // namespace reference

bool takes_simd(const Tensor& x, const Slices& s) {
  return x.dtype() == DType::f32 && s.inner == 1;
}

using Rows = void (*)(const float* x, int64_t rows, int64_t n, float* y);
using GradRows = void (*)(const float* y, const float* dy, int64_t rows, int64_t n, float* dx);

/// y from x: `rows` where the slices are contiguous floats, else slice(x, slices, y) for each.
template <class Slice>
Tensor map(const Tensor& x, int dim, Rows rows, const Slice& slice) {
  Tensor y = empty_like(x);
  const Slices s(x.shape(), dim);
  if (takes_simd(x, s)) {
    const float* const from = x.data<float>();
    float* const to = y.data<float>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      rows(from + begin * s.n, end - begin, s.n, to + begin * s.n);
    });
    return y;
  }
  dispatch_floating("softmax", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) slice(from + s.start(i), s, to + s.start(i));
    });
  });
  return y;
}

template <class Slice>
Tensor map_grad(const Tensor& y, const Tensor& dy, int dim, GradRows rows, const Slice& slice) {
  Tensor dx = empty_like(y);
  const Slices s(y.shape(), dim);
  if (takes_simd(y, s)) {
    const float *const out = y.data<float>(), *const slope = dy.data<float>();
    float* const to = dx.data<float>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      rows(out + begin * s.n, slope + begin * s.n, end - begin, s.n, to + begin * s.n);
    });
    return dx;
  }
  dispatch_floating("softmax_grad", y.dtype(), [&]<class T>(T) {
    const T *const out = y.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        slice(out + s.start(i), slope + s.start(i), s, to + s.start(i));
    });
  });
  return dx;
}

Tensor forward(const Tensor& x, int dim) {
  return map(x, dim, simd().forward,
             [](auto* from, const Slices& s, auto* to) { reference::forward(from, s, to); });
}
Tensor log_forward(const Tensor& x, int dim) {
  return map(x, dim, simd().log_forward,
             [](auto* from, const Slices& s, auto* to) { reference::log_forward(from, s, to); });
}
Tensor grad(const Tensor& y, const Tensor& dy, int dim) {
  return map_grad(y, dy, dim, simd().grad, [](auto* out, auto* slope, const Slices& s, auto* to) {
    reference::grad(out, slope, s, to);
  });
}
Tensor log_grad(const Tensor& y, const Tensor& dy, int dim) {
  return map_grad(y, dy, dim, simd().log_grad,
                  [](auto* out, auto* slope, const Slices& s, auto* to) {
                    reference::log_grad(out, slope, s, to);
                  });
}

const bool registered =
    softmax_kernels.add(DeviceType::cpu(), {forward, grad, log_forward, log_grad});

}  // namespace
}  // namespace vtrain
