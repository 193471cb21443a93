#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/activation.h"
#include "tensor/ops/activation_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;

template <class T>
const ActivationPasses<T>& simd() {
  const ActivationSimd& all = by_level(baseline::activation_simd, avx2::activation_simd,
                                       avx512::activation_simd, avx512_bf16::activation_simd);
  if constexpr (std::is_same_v<T, float>) {
    return all.f32;
  } else {
    return all.bf16;
  }
}

/// The formulas as they are written.
namespace reference {

double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}
double relu6(double x) { return std::min(std::max(x, 0.0), 6.0); }

/// 2 u and its derivative, u the argument of gelu_tanh's tanh.
std::pair<double, double> gelu_argument(double x) {
  const double scale = std::sqrt(8 / M_PI);
  return {scale * (x + 0.044715 * x * x * x), scale * (1 + 3 * 0.044715 * x * x)};
}

double value(ActivationKind kind, double x, double slope) {
  if (std::isnan(x)) return x;
  switch (kind) {
    case ActivationKind::kRelu6:
      return relu6(x);
    case ActivationKind::kLeakyRelu:
      return x > 0 ? x : slope * x;
    case ActivationKind::kSigmoid:
      return sigmoid(x);
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kSilu:
      return x < -1000 ? 0 : x * sigmoid(x);
    case ActivationKind::kGeluTanh:
      return x < -1000 ? 0 : x * sigmoid(gelu_argument(x).first);
    case ActivationKind::kHardSigmoid:
      return relu6(x + 3) / 6;
    case ActivationKind::kHardSwish:
      return x <= -3 ? 0 : x * relu6(x + 3) / 6;
  }
  return x;
}

double derivative(ActivationKind kind, double x, double slope) {
  if (std::isnan(x)) return x;
  switch (kind) {
    case ActivationKind::kRelu6:
      return x > 0 && x < 6 ? 1 : 0;
    case ActivationKind::kLeakyRelu:
      return x > 0 ? 1 : slope;
    case ActivationKind::kSigmoid:
      return sigmoid(x) * sigmoid(-x);
    case ActivationKind::kTanh:
      return 4 * sigmoid(2 * x) * sigmoid(-2 * x);
    case ActivationKind::kSilu: {
      const double bounded = std::clamp(x, -1000.0, 1000.0);
      return sigmoid(x) * (1 + bounded * sigmoid(-x));
    }
    case ActivationKind::kGeluTanh: {
      const double bounded = std::clamp(x, -1000.0, 1000.0);
      const auto [u, du] = gelu_argument(bounded);
      return sigmoid(u) * (1 + bounded * sigmoid(-u) * du);
    }
    case ActivationKind::kHardSigmoid:
      return x > -3 && x < 3 ? 1 / 6.0 : 0;
    case ActivationKind::kHardSwish:
      return x <= -3 ? 0 : x < 3 ? (2 * x + 3) / 6 : 1;
  }
  return 1;
}

}  // namespace reference

Tensor forward(ActivationKind kind, const Tensor& x, double slope) {
  Tensor y = empty_like(x);
  dispatch_real("activation", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        for (int64_t i = begin; i < end; ++i) to[i] = reference::value(kind, from[i], slope);
      } else {
        simd<T>().forward(kind, from + begin, static_cast<float>(slope), end - begin, to + begin);
      }
    });
  });
  return y;
}

Tensor grad(ActivationKind kind, const Tensor& x, const Tensor& dy, double slope) {
  Tensor dx = empty_like(x);
  dispatch_real("activation_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const up = dy.data<T>();
    T* const to = dx.data<T>();
    parallel_for(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      if constexpr (std::is_same_v<T, double>) {
        for (int64_t i = begin; i < end; ++i)
          to[i] = up[i] * reference::derivative(kind, from[i], slope);
      } else {
        simd<T>().grad(kind, from + begin, up + begin, static_cast<float>(slope), end - begin,
                       to + begin);
      }
    });
  });
  return dx;
}

const bool registered = activation_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
