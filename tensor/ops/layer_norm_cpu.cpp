#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/layer_norm_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;
constexpr int64_t kRowsPerSum =
    128;  // columns are summed in f32 or f64 over so many rows, these sums in double

template <class T>
const LayerNormLoops<T>& loops() {
  const LayerNormSimd& simd = by_level(baseline::layer_norm_simd, avx2::layer_norm_simd,
                                       avx512::layer_norm_simd, avx512_bf16::layer_norm_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
}

namespace reference {
template <class T>
void forward(const T* x, const T* weight, const T* bias, int64_t rows, int64_t channels, T eps,
             T* y, T* mean, T* rstd) {
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    T sum = 0, squares = 0;
    for (int64_t c = 0; c < channels; ++c) sum += x[c];
    mean[r] = sum / static_cast<T>(channels);
    for (int64_t c = 0; c < channels; ++c) squares += (x[c] - mean[r]) * (x[c] - mean[r]);
    rstd[r] = 1 / std::sqrt(squares / static_cast<T>(channels) + eps);
    for (int64_t c = 0; c < channels; ++c) {
      y[c] = (x[c] - mean[r]) * rstd[r] * (weight ? weight[c] : T(1)) + (bias ? bias[c] : T(0));
    }
  }
}

template <class T>
void grad(const T* x, const T* weight, const T* mean, const T* rstd, const T* dy, int64_t rows,
          int64_t channels, T* dx, T* dweight, T* dbias) {
  for (int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
    T g_mean = 0, dot_mean = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const T g = dy[c] * (weight ? weight[c] : T(1)), normalised = (x[c] - mean[r]) * rstd[r];
      g_mean += g / static_cast<T>(channels);
      dot_mean += g * normalised / static_cast<T>(channels);
      dweight[c] += dy[c] * normalised;
      dbias[c] += dy[c];
    }
    for (int64_t c = 0; c < channels; ++c) {
      const T g = dy[c] * (weight ? weight[c] : T(1)), normalised = (x[c] - mean[r]) * rstd[r];
      dx[c] = rstd[r] * (g - g_mean - normalised * dot_mean);
    }
  }
}
}  // namespace reference

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

int64_t grain_of(int64_t channels) {
  return std::max<int64_t>(kGrainElements / std::max<int64_t>(channels, 1), 1);
}

LayerNormOutput forward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const int64_t channels = x.dim(-1), rows = channels > 0 ? x.numel() / channels : 0;
  const DType wide = wide_of(x.dtype());
  LayerNormOutput result{empty_like(x), Tensor::empty({rows}, wide, x.device()),
                         Tensor::empty({rows}, wide, x.device())};
  dispatch_real("layer_norm", x.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T* const in = x.data<T>();
    const Wide *const w = data_or_null<Wide>(weight), *const b = data_or_null<Wide>(bias);
    T* const y = result.y.data<T>();
    Wide *const mean = result.mean.data<Wide>(), *const rstd = result.rstd.data<Wide>();
    parallel_for(rows, grain_of(channels), [&](int64_t begin, int64_t end) {
      const T* const from = in + begin * channels;
      T* const to = y + begin * channels;
      if constexpr (std::is_same_v<T, double>) {
        reference::forward(from, w, b, end - begin, channels, eps, to, mean + begin, rstd + begin);
      } else {
        loops<T>().forward(from, w, b, end - begin, channels, static_cast<float>(eps), to,
                           mean + begin, rstd + begin);
      }
    });
  });
  return result;
}

LayerNormGrads grad(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                    const Tensor& dy) {
  const int64_t channels = x.dim(-1), rows = mean.numel();
  const DType wide = wide_of(x.dtype());
  LayerNormGrads result{empty_like(x), Tensor::empty({channels}, wide, x.device()),
                        Tensor::empty({channels}, wide, x.device())};
  dispatch_real("layer_norm_grad", x.dtype(), [&]<class T>(T) {
    using Wide = Compute<T>;
    const T *const in = x.data<T>(), *const slope = dy.data<T>();
    const Wide *const w = data_or_null<Wide>(weight), *const m = mean.data<Wide>(),
                      *const s = rstd.data<Wide>();
    T* const dx = result.dx.data<T>();
    // A thread's dweight and dbias behind each other, and what it sums over kRowsPerSum rows.
    const auto threads = static_cast<size_t>(num_threads()),
               width = static_cast<size_t>(2 * channels);
    std::vector<double> sums(threads * width);
    std::vector<Wide> parts(threads * width);
    parallel_for(rows, grain_of(channels), [&](int64_t begin, int64_t end, int thread) {
      double* const sum = sums.data() + static_cast<size_t>(thread) * width;
      Wide* const part = parts.data() + static_cast<size_t>(thread) * width;
      for (int64_t r = begin; r < end; r += kRowsPerSum) {
        const int64_t count = std::min(kRowsPerSum, end - r), at = r * channels;
        std::fill_n(part, width, Wide(0));
        if constexpr (std::is_same_v<T, double>) {
          reference::grad(in + at, w, m + r, s + r, slope + at, count, channels, dx + at, part,
                          part + channels);
        } else {
          loops<T>().grad(in + at, w, m + r, s + r, slope + at, count, channels, dx + at, part,
                          part + channels);
        }
        for (size_t i = 0; i < width; ++i) sum[i] += static_cast<double>(part[i]);
      }
    });
    Wide *const dweight = result.dweight.data<Wide>(), *const dbias = result.dbias.data<Wide>();
    for (int64_t c = 0; c < channels; ++c) {
      double weight_sum = 0, bias_sum = 0;
      for (size_t t = 0; t < threads; ++t) {
        weight_sum += sums[t * width + static_cast<size_t>(c)];
        bias_sum += sums[t * width + static_cast<size_t>(channels + c)];
      }
      dweight[c] = static_cast<Wide>(weight_sum);
      dbias[c] = static_cast<Wide>(bias_sum);
    }
  });
  return result;
}

const bool registered = layer_norm_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
