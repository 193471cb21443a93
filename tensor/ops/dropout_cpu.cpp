#include <type_traits>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/dropout.h"
#include "tensor/ops/dropout_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;

template <class T>
const DropoutPasses<T>& simd() {
  const DropoutSimd& all = by_level(baseline::dropout_simd, avx2::dropout_simd,
                                    avx512::dropout_simd, avx512_bf16::dropout_simd);
  if constexpr (std::is_same_v<T, float>) {
    return all.f32;
  } else {
    return all.bf16;
  }
}

namespace reference {
// The same decision as the narrow kernels take: noise and rate are compared in f32.
void forward(const double* x, const float* noise, double rate, int64_t n, double* y,
             uint8_t* kept) {
  for (int64_t i = 0; i < n; ++i) {
    kept[i] = noise[i] >= static_cast<float>(rate);
    y[i] = kept[i] ? x[i] / (1 - rate) : 0;
  }
}
void grad(const double* dy, const uint8_t* kept, double rate, int64_t n, double* dx) {
  for (int64_t i = 0; i < n; ++i) dx[i] = kept[i] ? dy[i] / (1 - rate) : 0;
}
}  // namespace reference

DropoutOutput forward(const Tensor& x, const Tensor& noise, double rate) {
  DropoutOutput result{empty_like(x),
                       x.is_contiguous()
                           ? Tensor::empty(x.shape(), DType::u8, x.device())
                           : Tensor::empty_channels_last(x.shape(), DType::u8, x.device())};
  const float* const draws = noise.data<float>();
  uint8_t* const kept = result.kept.data<uint8_t>();
  dispatch_real("dropout", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = result.y.data<T>();
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        reference::forward(from + begin, draws + begin, rate, end - begin, to + begin,
                           kept + begin);
      } else {
        simd<T>().forward(from + begin, draws + begin, static_cast<float>(rate), end - begin,
                          to + begin, kept + begin);
      }
    });
  });
  return result;
}

Tensor grad(const Tensor& dy, const Tensor& kept, double rate) {
  Tensor dx = empty_like(dy);
  const uint8_t* const mask = kept.data<uint8_t>();
  dispatch_real("dropout_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(dy.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        reference::grad(from + begin, mask + begin, rate, end - begin, to + begin);
      } else {
        simd<T>().grad(from + begin, mask + begin, static_cast<float>(rate), end - begin,
                       to + begin);
      }
    });
  });
  return dx;
}

const bool registered = dropout_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
