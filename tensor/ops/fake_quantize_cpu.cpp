#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/fake_quantize.h"
#include "tensor/ops/fake_quantize_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrain = 16384;
constexpr int64_t kErrorBlock = 4096;  // what the f32 sum of squared errors runs over

const FakeQuantizeSimd& simd() {
  return by_level(baseline::fake_quantize_simd, avx2::fake_quantize_simd,
                  avx512::fake_quantize_simd, avx512_bf16::fake_quantize_simd);
}

/// The formulas as they are written, in double.
namespace reference {

struct Step {
  double scale, inverse, low, high, zero_point;
};

double real(double x, const Step& s) {
  const double rounded = std::nearbyint(x * s.inverse) + s.zero_point;
  if (std::isnan(rounded)) return rounded;
  return s.scale * (std::min(std::max(rounded, s.low), s.high) - s.zero_point);
}
void forward(const double* x, const Step& s, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = real(x[i], s);
}
void grad(const double* x, const Step& s, const double* dy, double* dx, int64_t n) {
  const double low = s.scale * (s.low - s.zero_point), high = s.scale * (s.high - s.zero_point);
  for (int64_t i = 0; i < n; ++i) dx[i] = x[i] >= low && x[i] <= high ? dy[i] : 0;
}
void scale_terms(const double* x, const Step& s, const double* dy, double* terms, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i] * s.inverse;
    terms[i] = dy[i] * (v <= s.low ? s.low : v >= s.high ? s.high : std::nearbyint(v) - v);
  }
}
void learned_grad(const double* x, const Step& s, const double* dy, double* dx, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i] * s.inverse;
    dx[i] = v > s.low && v < s.high ? dy[i] : 0;
  }
}
double error(const double* x, const Step& s, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += (real(x[i], s) - x[i]) * (real(x[i], s) - x[i]);
  return sum;
}
constexpr struct {
  decltype(&reference::forward) forward = reference::forward;
  decltype(&reference::grad) grad = reference::grad;
  decltype(&reference::scale_terms) scale_terms = reference::scale_terms;
  decltype(&reference::learned_grad) learned_grad = reference::learned_grad;
  decltype(&reference::error) error = reference::error;
} loops;

}  // namespace reference

template <class T>
const auto& loops() {
  if constexpr (std::is_same_v<T, double>) {
    return reference::loops;
  } else if constexpr (std::is_same_v<T, float>) {
    return simd().f32;
  } else {
    return simd().bf16;
  }
}

template <class T>
auto step_of(T scale, const CodeRange& r) {
  using Step = std::conditional_t<std::is_same_v<T, double>, reference::Step, QuantizeStep>;
  return Step{scale, 1 / scale, static_cast<T>(r.low), static_cast<T>(r.high),
              static_cast<T>(r.zero_point)};
}

/// f(begin, end, step) on stretches of elements that share a scale.
template <class T, class F>
void for_steps(const Tensor& x, const Tensor& scale, const CodeRange& range, const F& f) {
  const T* const scales = scale.data<T>();
  const int64_t slices = scale.numel(), length = x.numel() / slices;
  if (slices == 1) {
    const auto step = step_of(scales[0], range);
    parallel_for(length, kGrain, [&](int64_t begin, int64_t end) { f(begin, end, step); });
    return;
  }
  parallel_for(slices, 1 + kGrain / std::max<int64_t>(1, length), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      f(i * length, (i + 1) * length, step_of(scales[i], range));
  });
}

Tensor forward(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  Tensor y = empty_like(x);
  dispatch_real("fake_quantize", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    for_steps<Compute<T>>(x, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
      loops<T>().forward(from + begin, step, to + begin, end - begin);
    });
  });
  return y;
}

Tensor grad(const Tensor& x, const Tensor& scale, const CodeRange& range, const Tensor& dy) {
  Tensor dx = empty_like(x);
  dispatch_real("fake_quantize_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    for_steps<Compute<T>>(x, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
      loops<T>().grad(from + begin, step, slope + begin, to + begin, end - begin);
    });
  });
  return dx;
}

Tensor scale_terms(const Tensor& x, const Tensor& scale, const CodeRange& range, const Tensor& dy) {
  Tensor terms = Tensor::empty({x.numel()}, scale.dtype(), x.device());
  dispatch_real("learned_scale_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    Compute<T>* const to = terms.data<Compute<T>>();
    for_steps<Compute<T>>(x, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
      loops<T>().scale_terms(from + begin, step, slope + begin, to + begin, end - begin);
    });
  });
  return terms;
}

Tensor learned_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                    const Tensor& dy) {
  Tensor dx = empty_like(x);
  dispatch_real("learned_scale_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    for_steps<Compute<T>>(x, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
      loops<T>().learned_grad(from + begin, step, slope + begin, to + begin, end - begin);
    });
  });
  return dx;
}

Tensor error(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  Tensor sums = zeros(scale.shape(), DType::f64, x.device());
  dispatch_real("fake_quantize_error", x.dtype(), [&]<class T>(T) {
    using Scale = Compute<T>;
    const T* const from = x.data<T>();
    const Scale* const scales = scale.data<Scale>();
    const int64_t slices = scale.numel(), length = x.numel() / slices;
    const int64_t blocks = (length + kErrorBlock - 1) / kErrorBlock;
    std::vector<double> parts(static_cast<size_t>(slices * blocks));
    parallel_for(slices * blocks, 4, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i % blocks * kErrorBlock;
        const int64_t count = std::min(kErrorBlock, length - begin);
        parts[static_cast<size_t>(i)] = loops<T>().error(from + i / blocks * length + begin,
                                                         step_of(scales[i / blocks], range), count);
      }
    });
    double* const to = sums.data<double>();
    for (size_t i = 0; i < parts.size(); ++i) to[static_cast<int64_t>(i) / blocks] += parts[i];
  });
  return sums;
}

Tensor codes(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  Tensor q = x.is_contiguous()
                 ? Tensor::empty(x.shape(), code_dtype(range), x.device())
                 : Tensor::empty_channels_last(x.shape(), code_dtype(range), x.device());
  const float* const from = x.data<float>();
  auto* const to = reinterpret_cast<uint8_t*>(q.raw());
  std::atomic<bool> are_numbers = true;
  for_steps<float>(x, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
    if (!simd().codes(from + begin, step, to + begin, end - begin)) are_numbers = false;
  });
  return are_numbers ? q : Tensor();
}

Tensor reals(const Tensor& codes, const Tensor& scale, const CodeRange& range) {
  Tensor y = codes.is_contiguous()
                 ? Tensor::empty(codes.shape(), DType::f32, codes.device())
                 : Tensor::empty_channels_last(codes.shape(), DType::f32, codes.device());
  float* const to = y.data<float>();
  const auto run = [&]<class T>(T) {
    const T* const from = codes.data<T>();
    for_steps<float>(codes, scale, range, [&](int64_t begin, int64_t end, const auto& step) {
      for (int64_t i = begin; i < end; ++i)
        to[i] = (static_cast<float>(from[i]) - step.zero_point) * step.scale;
    });
  };
  if (codes.dtype() == DType::i8) {
    run(int8_t{});
  } else {
    run(uint8_t{});
  }
  return y;
}

const bool registered = fake_quantize_kernels.add(
    DeviceType::cpu(), {forward, grad, scale_terms, learned_grad, error, codes, reals});

}  // namespace
}  // namespace vtrain
