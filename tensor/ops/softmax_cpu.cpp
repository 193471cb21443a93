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

template <class T>
const SoftmaxLoops<T>& loops() {
  const SoftmaxSimd& simd = by_level(baseline::softmax_simd, avx2::softmax_simd,
                                     avx512::softmax_simd, avx512_bf16::softmax_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
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

/// bf16 slices that are no runs of memory.
bool goes_through_f32(const Tensor& x, const Slices& s) {
  return x.dtype() == DType::bf16 && s.inner != 1;
}

/// y from x: the function that `pick` takes from a dtype's loops where slices are runs of memory,
/// else slice(x, slices, y) for each.
template <class Pick, class Slice>
Tensor map(const Tensor& x, int dim, const Pick& pick, const Slice& slice) {
  const Slices s(x.shape(), dim);
  if (goes_through_f32(x, s)) return map(x.to(DType::f32), dim, pick, slice).to(DType::bf16);
  Tensor y = empty_like(x);
  dispatch_real("softmax", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      if constexpr (!std::is_same_v<T, double>) {
        const int64_t at = begin * s.n;
        if (s.inner == 1) return pick(loops<T>())(from + at, end - begin, s.n, to + at);
      }
      if constexpr (!std::is_same_v<T, BFloat16>) {
        for (int64_t i = begin; i < end; ++i) slice(from + s.start(i), s, to + s.start(i));
      }
    });
  });
  return y;
}

template <class Pick, class Slice>
Tensor map_grad(const Tensor& y, const Tensor& dy, int dim, const Pick& pick, const Slice& slice) {
  const Slices s(y.shape(), dim);
  if (goes_through_f32(y, s))
    return map_grad(y.to(DType::f32), dy.to(DType::f32), dim, pick, slice).to(DType::bf16);
  Tensor dx = empty_like(y);
  dispatch_real("softmax_grad", y.dtype(), [&]<class T>(T) {
    const T *const out = y.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(s.count(), s.grain(), [&](int64_t begin, int64_t end) {
      if constexpr (!std::is_same_v<T, double>) {
        const int64_t at = begin * s.n;
        if (s.inner == 1) return pick(loops<T>())(out + at, slope + at, end - begin, s.n, to + at);
      }
      if constexpr (!std::is_same_v<T, BFloat16>) {
        for (int64_t i = begin; i < end; ++i)
          slice(out + s.start(i), slope + s.start(i), s, to + s.start(i));
      }
    });
  });
  return dx;
}

Tensor forward(const Tensor& x, int dim) {
  return map(
      x, dim, [](const auto& l) { return l.forward; },
      [](auto* from, const Slices& s, auto* to) { reference::forward(from, s, to); });
}
Tensor log_forward(const Tensor& x, int dim) {
  return map(
      x, dim, [](const auto& l) { return l.log_forward; },
      [](auto* from, const Slices& s, auto* to) { reference::log_forward(from, s, to); });
}
Tensor grad(const Tensor& y, const Tensor& dy, int dim) {
  return map_grad(
      y, dy, dim, [](const auto& l) { return l.grad; },
      [](auto* out, auto* slope, const Slices& s, auto* to) {
        reference::grad(out, slope, s, to);
      });
}
Tensor log_grad(const Tensor& y, const Tensor& dy, int dim) {
  return map_grad(
      y, dy, dim, [](const auto& l) { return l.log_grad; },
      [](auto* out, auto* slope, const Slices& s, auto* to) {
        reference::log_grad(out, slope, s, to);
      });
}

const bool registered =
    softmax_kernels.add(DeviceType::cpu(), {forward, grad, log_forward, log_grad});

}  // namespace
}  // namespace vtrain
