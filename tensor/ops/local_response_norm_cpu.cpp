#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/local_response_norm.h"
#include "tensor/ops/local_response_norm_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;
using Options = LocalResponseNormOptions;

template <class T>
const LocalResponseNormPasses<T>& simd() {
  const LocalResponseNormSimd& all =
      by_level(baseline::local_response_norm_simd, avx2::local_response_norm_simd,
               avx512::local_response_norm_simd, avx512_bf16::local_response_norm_simd);
  if constexpr (std::is_same_v<T, float>) {
    return all.f32;
  } else {
    return all.bf16;
  }
}

LocalResponseNormRow row_of(int64_t channels, const Options& o) {
  return {channels,
          o.size / 2,
          (o.size - 1) / 2,
          static_cast<float>(o.alpha / static_cast<double>(o.size)),
          static_cast<float>(o.beta),
          static_cast<float>(o.k)};
}
int64_t scratch_size(const LocalResponseNormRow& row) {
  return 2 * (row.channels + row.before + row.behind);
}

namespace reference {

double denominator(const double* x, int64_t c, int64_t channels, const Options& o) {
  double sum = 0;
  const int64_t begin = std::max<int64_t>(c - o.size / 2, 0),
                end = std::min(c + (o.size - 1) / 2 + 1, channels);
  for (int64_t i = begin; i < end; ++i) sum += x[i] * x[i];
  return o.k + o.alpha / static_cast<double>(o.size) * sum;
}

void forward(const double* x, int64_t rows, int64_t channels, const Options& o, double* y) {
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    for (int64_t c = 0; c < channels; ++c)
      y[c] = x[c] * std::pow(denominator(x, c, channels, o), -o.beta);
  }
}

void grad(const double* x, const double* dy, int64_t rows, int64_t channels, const Options& o,
          double* dx) {
  const double factor = 2 * o.alpha / static_cast<double>(o.size) * o.beta;
  for (int64_t r = 0; r < rows; ++r, x += channels, dy += channels, dx += channels) {
    for (int64_t c = 0; c < channels; ++c)
      dx[c] = dy[c] * std::pow(denominator(x, c, channels, o), -o.beta);
    for (int64_t from = 0; from < channels; ++from) {
      const double share =
          factor * dy[from] * x[from] * std::pow(denominator(x, from, channels, o), -o.beta - 1);
      const int64_t begin = std::max<int64_t>(from - o.size / 2, 0),
                    end = std::min(from + (o.size - 1) / 2 + 1, channels);
      for (int64_t c = begin; c < end; ++c) dx[c] -= x[c] * share;
    }
  }
}

}  // namespace reference

void forward(const Tensor& x, const Options& options, Tensor& y) {
  const int64_t channels = x.dim(1), rows = channels > 0 ? x.numel() / channels : 0;
  const LocalResponseNormRow row = row_of(channels, options);
  dispatch_real("local_response_norm", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    std::vector<float> scratch(static_cast<size_t>(num_threads() * scratch_size(row)));
    parallel_for(rows, std::max<int64_t>(kGrainElements / std::max<int64_t>(channels, 1), 1),
                 [&](int64_t begin, int64_t end, int thread) {
                   const int64_t at = begin * channels;
                   if constexpr (std::is_same_v<T, double>) {
                     reference::forward(from + at, end - begin, channels, options, to + at);
                   } else {
                     simd<T>().forward(row, from + at, end - begin,
                                       scratch.data() + thread * scratch_size(row), to + at);
                   }
                 });
  });
}

void grad(const Tensor& x, const Tensor& dy, const Options& options, Tensor& dx) {
  const int64_t channels = x.dim(1), rows = channels > 0 ? x.numel() / channels : 0;
  const LocalResponseNormRow row = row_of(channels, options);
  dispatch_real("local_response_norm_grad", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const slope = dy.data<T>();
    T* const to = dx.data<T>();
    std::vector<float> scratch(static_cast<size_t>(num_threads() * scratch_size(row)));
    parallel_for(rows, std::max<int64_t>(kGrainElements / std::max<int64_t>(channels, 1), 1),
                 [&](int64_t begin, int64_t end, int thread) {
                   const int64_t at = begin * channels;
                   if constexpr (std::is_same_v<T, double>) {
                     reference::grad(from + at, slope + at, end - begin, channels, options,
                                     to + at);
                   } else {
                     simd<T>().grad(row, from + at, slope + at, end - begin,
                                    scratch.data() + thread * scratch_size(row), to + at);
                   }
                 });
  });
}

const bool registered = local_response_norm_kernels.add(DeviceType::cpu(), {forward, grad});

}  // namespace
}  // namespace vtrain
