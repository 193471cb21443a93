#include <cmath>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/gelu.h"
#include "tensor/ops/gelu_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;

template <class T>
const GeluLoops<T>& loops() {
  const GeluSimd& simd =
      by_level(baseline::gelu_simd, avx2::gelu_simd, avx512::gelu_simd, avx512_bf16::gelu_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
}

namespace reference {
template <class T>
T cumulative(T x) {  // erfc keeps the lower tail's precision
  return T(0.5) * std::erfc(-x * T(M_SQRT1_2));
}
template <class T>
void forward(const T* x, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * cumulative(x[i]);
}
template <class T>
void grad(const T* x, const T* dy, T* dx, int64_t n) {
  const T density_at_0 = T(M_SQRT1_2 * M_2_SQRTPI / 2);
  for (int64_t i = 0; i < n; ++i) {
    dx[i] = dy[i] * (cumulative(x[i]) + x[i] * density_at_0 * std::exp(-x[i] * x[i] / 2));
  }
}
}  // namespace reference

Tensor forward(const Tensor& x) {
  Tensor y = empty_like(x);
  dispatch_real("gelu", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        reference::forward(from + begin, to + begin, end - begin);
      } else {
        loops<T>().forward(from + begin, to + begin, end - begin);
      }
    });
  });
  return y;
}

Tensor grad(const Tensor& x, const Tensor& dy) {
  Tensor dx = empty_like(x);
  dispatch_real("gelu_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        reference::grad(from + begin, slope + begin, to + begin, end - begin);
      } else {
        loops<T>().grad(from + begin, slope + begin, to + begin, end - begin);
      }
    });
  });
  return dx;
}

const bool registered = gelu_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
