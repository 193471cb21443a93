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
constexpr int64_t kSummed = 4096;  // what a sum in f32 runs over

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
void forward_inside(const double* x, const Step& s, double* y, uint8_t* inside, int64_t n) {
  const double low = s.scale * (s.low - s.zero_point), high = s.scale * (s.high - s.zero_point);
  std::fill_n(inside, (n + 7) / 8, uint8_t{0});
  for (int64_t i = 0; i < n; ++i) {
    y[i] = real(x[i], s);
    if (x[i] >= low && x[i] <= high) inside[i / 8] |= static_cast<uint8_t>(1 << (i % 8));
  }
}
void clip(const uint8_t* inside, double* dy, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if ((inside[i / 8] >> (i % 8) & 1) == 0) dy[i] = 0;
  }
}
double learned_grad(const double* x, const Step& s, const double* dy, double* dx, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i] * s.inverse, slope = dy[i];
    sum += slope * (v <= s.low ? s.low : v >= s.high ? s.high : std::nearbyint(v) - v);
    dx[i] = v > s.low && v < s.high ? slope : 0;
  }
  return sum;
}
double error(const double* x, const Step& s, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += (real(x[i], s) - x[i]) * (real(x[i], s) - x[i]);
  return sum;
}
constexpr struct {
  decltype(&reference::forward) forward = reference::forward;
  decltype(&reference::forward_inside) forward_inside = reference::forward_inside;
  decltype(&reference::clip) clip = reference::clip;
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

/// f(slice, begin, count, byte of the mask at begin) on stretches of whole words of `inside`,
/// (slices, bytes), over n elements.
template <class F>
void for_words(int64_t n, const Tensor& inside, const F& f) {
  constexpr int64_t kWord = 64;  // elements, of 8 bytes of the mask
  const int64_t slices = inside.dim(0), length = n / slices, words = inside.dim(1) / 8;
  parallel_for(slices * words, kGrain / kWord, [&](int64_t first, int64_t last) {
    while (first < last) {
      const int64_t slice = first / words, word = first % words;
      const int64_t end = std::min(last - first + word, words);
      const int64_t count = std::min(end * kWord, length) - word * kWord;
      f(slice, slice * length + word * kWord, count, first * 8);
      first += end - word;
    }
  });
}

/// sums[slice] = the sum of f(begin, count, step), block by block: no thread count changes it.
template <class T, class Sum, class F>
void sum_by_slice(const Tensor& x, const Tensor& scale, const CodeRange& range, Sum* sums,
                  const F& f) {
  const T* const scales = scale.data<T>();
  const int64_t slices = scale.numel(), length = x.numel() / slices;
  const int64_t blocks = (length + kSummed - 1) / kSummed;
  std::vector<double> parts(static_cast<size_t>(slices * blocks));
  parallel_for(slices * blocks, kGrain / kSummed, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t begin = i % blocks * kSummed, count = std::min(kSummed, length - begin);
      parts[static_cast<size_t>(i)] = static_cast<double>(
          f(i / blocks * length + begin, count, step_of(scales[i / blocks], range)));
    }
  });
  for (int64_t slice = 0; slice < slices; ++slice) {
    double sum = 0;
    for (int64_t b = 0; b < blocks; ++b) sum += parts[static_cast<size_t>(slice * blocks + b)];
    sums[slice] = static_cast<Sum>(sum);
  }
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

Tensor forward_inside(const Tensor& x, const Tensor& scale, const CodeRange& range,
                      Tensor& inside) {
  Tensor y = empty_like(x);
  dispatch_real("fake_quantize", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    auto* const bits = inside.data<uint8_t>();
    for_words(x.numel(), inside, [&](int64_t slice, int64_t begin, int64_t count, int64_t byte) {
      const auto step = step_of(scale.data<Compute<T>>()[slice], range);
      loops<T>().forward_inside(from + begin, step, to + begin, bits + byte, count);
    });
  });
  return y;
}

void clip(const Tensor& inside, Tensor& dy) {
  dispatch_real("fake_quantize_grad", dy.dtype(), [&]<class T>(T) {
    const auto* const bits = inside.data<uint8_t>();
    T* const slope = dy.data<T>();
    for_words(dy.numel(), inside, [&](int64_t, int64_t begin, int64_t count, int64_t byte) {
      loops<T>().clip(bits + byte, slope + begin, count);
    });
  });
}

Tensor learned_grad(const Tensor& x, const Tensor& scale, const CodeRange& range, const Tensor& dy,
                    Tensor& dx) {
  Tensor dscale = empty_like(scale);
  dispatch_real("learned_scale_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    sum_by_slice<Compute<T>>(x, scale, range, dscale.data<Compute<T>>(),
                             [&](int64_t begin, int64_t count, const auto& step) {
                               return loops<T>().learned_grad(from + begin, step, slope + begin,
                                                              to + begin, count);
                             });
  });
  return dscale;
}

Tensor error(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  Tensor sums = Tensor::empty(scale.shape(), DType::f64, x.device());
  dispatch_real("fake_quantize_error", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    sum_by_slice<Compute<T>>(x, scale, range, sums.data<double>(),
                             [&](int64_t begin, int64_t count, const auto& step) {
                               return loops<T>().error(from + begin, step, count);
                             });
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
    DeviceType::cpu(), {forward, forward_inside, clip, learned_grad, error, codes, reals});

}  // namespace
}  // namespace vtrain
