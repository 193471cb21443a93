#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/batch_norm.h"
#include "tensor/ops/batch_norm_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr int64_t kGrainElements = 8192;

template <class T>
const BatchNormLoops<T>& loops() {
  const BatchNormSimd& simd = by_level(baseline::batch_norm_simd, avx2::batch_norm_simd,
                                       avx512::batch_norm_simd, avx512_bf16::batch_norm_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
}

BatchNormClamp clamp_of(BatchNormActivation activation) {
  switch (activation) {
    case BatchNormActivation::kNone:
      return BatchNormClamp::kNone;
    case BatchNormActivation::kRelu:
      return BatchNormClamp::kAbove0;
    case BatchNormActivation::kRelu6:
      return BatchNormClamp::kAbove0Below6;
  }
  return BatchNormClamp::kNone;
}

BatchNormMask mask_of(BatchNormActivation activation, bool has_residual) {
  switch (activation) {
    case BatchNormActivation::kNone:
      return BatchNormMask::kNone;
    case BatchNormActivation::kRelu:
      return has_residual ? BatchNormMask::kAbove0 : BatchNormMask::kInput;
    case BatchNormActivation::kRelu6:
      return has_residual ? BatchNormMask::kAbove0Below6 : BatchNormMask::kInputBelow6;
  }
  return BatchNormMask::kNone;
}

/// The plain loops, on rows (R, C).
namespace reference {
template <class T>
void statistics(const T* x, int64_t rows, int64_t channels, T* mean, T* variance) {
  const T share = T(1) / static_cast<T>(rows);
  std::fill_n(mean, channels, T(0));
  std::fill_n(variance, channels, T(0));
  for (int64_t i = 0; i < rows * channels; ++i) mean[i % channels] += x[i] * share;
  for (int64_t i = 0; i < rows * channels; ++i) {
    const T d = x[i] - mean[i % channels];
    variance[i % channels] += d * d * share;
  }
}

template <class T>
T normalised(T x, const T* mean, const T* rstd, const T* weight, const T* bias, int64_t c) {
  return (x - mean[c]) * rstd[c] * (weight ? weight[c] : T(1)) + (bias ? bias[c] : T(0));
}

template <class T>
void forward(const T* x, const T* residual, int64_t rows, int64_t channels, const T* mean,
             const T* rstd, const T* weight, const T* bias, BatchNormClamp clamp, T* y) {
  for (int64_t i = 0; i < rows * channels; ++i) {
    T v = normalised(x[i], mean, rstd, weight, bias, i % channels);
    if (residual) v += residual[i];
    if (clamp != BatchNormClamp::kNone) v = v < 0 ? T(0) : v;
    if (clamp == BatchNormClamp::kAbove0Below6) v = v > 6 ? T(6) : v;
    y[i] = v;
  }
}

template <class T>
void grad(const T* x, const T* y, const T* dy, int64_t rows, int64_t channels, const T* mean,
          const T* rstd, const T* weight, const T* bias, BatchNormMask mask,
          BatchNormStatistics statistics, T* dx, T* dweight, T* dbias, T* g) {
  for (int64_t i = 0; i < rows * channels; ++i) {
    const int64_t c = i % channels;
    bool passes = true;
    const T v = normalised(x[i], mean, rstd, weight, bias, c);
    if (mask == BatchNormMask::kInput) passes = v > 0;
    if (mask == BatchNormMask::kInputBelow6) passes = v > 0 && v < 6;
    if (mask == BatchNormMask::kAbove0) passes = y[i] > 0;
    if (mask == BatchNormMask::kAbove0Below6) passes = y[i] > 0 && y[i] < 6;
    g[i] = passes ? dy[i] : T(0);
    dweight[c] += g[i] * (x[i] - mean[c]) * rstd[c];
    dbias[c] += g[i];
  }
  const T share = statistics == BatchNormStatistics::kBatch ? T(1) / static_cast<T>(rows) : T(0);
  for (int64_t i = 0; i < rows * channels; ++i) {
    const int64_t c = i % channels;
    dx[i] = (weight ? weight[c] : T(1)) * rstd[c] *
            (g[i] - dbias[c] * share - (x[i] - mean[c]) * rstd[c] * dweight[c] * share);
  }
}
}  // namespace reference

template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

/// An (R, C) array as rows of `width` elements, several positions each, so that few channels, or a
/// number of them that no vector divides, still fill whole vectors, and that the loops, which walk
/// four rows at a time, read each for long enough: from memory, rows of 512 bytes take 1.5 times as
/// long as rows of 4 KiB. `rest` elements of a last, incomplete row stay over.
struct Packing {
  explicit Packing(const Tensor& x)
      : channels(x.dim(1)), count(x.numel() / channels), width(channels) {
    constexpr int64_t kVector = 16, kEnough = 1024;  // floats of the widest vector; columns
    if (channels % kVector != 0 && channels < kEnough)
      width *= kVector / std::gcd(channels, kVector);
    while (width < kEnough) width *= 2;
    rows = x.numel() / width;
    rest = x.numel() % width;
  }
  int64_t grain() const { return std::max<int64_t>(kGrainElements / width, 1); }
  int64_t channels, count, width, rows = 0, rest = 0;
};

/// A value per channel, repeated for the positions of a row.
std::vector<float> repeated(const std::vector<float>& per_channel, const Packing& p) {
  std::vector<float> columns(static_cast<size_t>(p.width));
  for (size_t i = 0; i < columns.size(); ++i) columns[i] = per_channel[i % per_channel.size()];
  return columns;
}

/// mean, rstd * weight and bias per column.
struct Columns {
  Columns(const Packing& p, const Tensor& mean_of, const Tensor& rstd, const Tensor& weight,
          const Tensor& bias)
      : mean(static_cast<size_t>(p.channels)), scale(mean), shift(mean) {
    for (size_t c = 0; c < mean.size(); ++c) {
      mean[c] = mean_of.data<float>()[c];
      scale[c] = rstd.data<float>()[c] * (weight.defined() ? weight.data<float>()[c] : 1.0f);
      shift[c] = bias.defined() ? bias.data<float>()[c] : 0.0f;
    }
    mean = repeated(mean, p);
    scale = repeated(scale, p);
    shift = repeated(shift, p);
  }
  BatchNormColumns view() const { return {mean.data(), scale.data(), shift.data()}; }
  std::vector<float> mean, scale, shift;
};

/// f(first element, rows, width, slot) for every thread's rows and, in a slot of its own, for the
/// incomplete last row.
template <class F>
void for_shares(const Packing& p, const F& f) {
  parallel_for(p.rows, p.grain(), [&](int64_t begin, int64_t end, int thread) {
    f(begin * p.width, end - begin, p.width, static_cast<size_t>(thread));
  });
  if (p.rest > 0) f(p.rows * p.width, 1, p.rest, static_cast<size_t>(num_threads()));
}
size_t slots() { return static_cast<size_t>(num_threads()) + 1; }

/// Mean and biased variance of every channel, joined over slots and positions in a fixed order.
template <class T>
void statistics(const T* x, const Packing& p, std::vector<double>& mean,
                std::vector<double>& variance) {
  const auto width = static_cast<size_t>(p.width), channels = static_cast<size_t>(p.channels);
  std::vector<double> means(slots() * width), squares(means);
  std::vector<float> sums(slots() * 2 * width);
  std::vector<int64_t> rows_of(slots()), width_of(slots());
  for_shares(p, [&](int64_t first, int64_t rows, int64_t columns, size_t slot) {
    rows_of[slot] = rows;
    width_of[slot] = columns;
    loops<T>().statistics(x + first, rows, columns, sums.data() + slot * 2 * width,
                          means.data() + slot * width, squares.data() + slot * width);
  });
  mean.assign(channels, 0);
  variance.assign(channels, 0);
  std::vector<double> counts(channels);
  for (size_t slot = 0; slot < slots(); ++slot) {
    const auto rows = static_cast<double>(rows_of[slot]);
    const auto columns = static_cast<size_t>(width_of[slot]);
    for (size_t i = 0; i < columns; ++i) {
      const size_t c = i % channels;
      const double share = rows / (counts[c] + rows);
      const double step = means[slot * width + i] - mean[c];
      mean[c] += step * share;
      variance[c] += squares[slot * width + i] + step * step * counts[c] * share;
      counts[c] += rows;
    }
  }
  for (double& v : variance) v /= static_cast<double>(p.count);
}

void update_running(Tensor& running, const std::vector<double>& batch, double factor,
                    double momentum) {
  dispatch_floating("batch_norm", running.dtype(), [&]<class T>(T) {
    T* const r = running.data<T>();
    for (size_t c = 0; c < batch.size(); ++c) {
      r[c] =
          static_cast<T>((1 - momentum) * static_cast<double>(r[c]) + momentum * factor * batch[c]);
    }
  });
}

/// y = act((x - mean) * rstd * weight + bias [+ residual]).
void normalise(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual,
               const Tensor& mean, const Tensor& rstd, BatchNormActivation activation, Tensor& y) {
  const Packing p(x);
  const BatchNormClamp clamp = clamp_of(activation);
  dispatch_real("batch_norm", x.dtype(), [&]<class T>(T) {
    const T *const from = x.data<T>(), *const branch = data_or_null<T>(residual);
    T* const to = y.data<T>();
    if constexpr (std::is_same_v<T, double>) {
      reference::forward(from, branch, p.count, p.channels, mean.data<T>(), rstd.data<T>(),
                         data_or_null<T>(weight), data_or_null<T>(bias), clamp, to);
    } else {
      const Columns columns(p, mean, rstd, weight, bias);
      for_shares(p, [&](int64_t first, int64_t rows, int64_t width, size_t) {
        loops<T>().forward(from + first, branch ? branch + first : nullptr, rows, width,
                           columns.view(), clamp, to + first);
      });
    }
  });
}

Tensor output_like(const Tensor& x) {
  return x.ndim() == 4 ? Tensor::empty_channels_last(x.shape(), x.dtype(), x.device())
                       : empty_like(x);
}

Tensor again(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual,
             const Tensor& mean, const Tensor& rstd, BatchNormActivation activation) {
  Tensor y = output_like(x);
  normalise(x, weight, bias, residual, mean, rstd, activation, y);
  return y;
}

BatchNormOutput forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Tensor& residual, Tensor& running_mean, Tensor& running_var,
                        const BatchNormOptions& options) {
  const Packing p(x);
  const DType wide = wide_of(x.dtype());
  BatchNormOutput result{output_like(x), Tensor::empty({p.channels}, wide, x.device()),
                         Tensor::empty({p.channels}, wide, x.device())};

  std::vector<double> mean, variance;
  if (options.statistics == BatchNormStatistics::kRunning) {
    mean = running_mean.to_vector();
    variance = running_var.to_vector();
  } else if (x.dtype() == DType::f64) {
    mean.resize(static_cast<size_t>(p.channels));
    variance.resize(mean.size());
    reference::statistics(x.data<double>(), p.count, p.channels, mean.data(), variance.data());
  } else if (x.dtype() == DType::f32) {
    statistics(x.data<float>(), p, mean, variance);
  } else {
    statistics(x.data<BFloat16>(), p, mean, variance);
  }
  dispatch_floating("batch_norm", wide, [&]<class T>(T) {
    for (size_t c = 0; c < mean.size(); ++c) {
      result.mean.data<T>()[c] = static_cast<T>(mean[c]);
      result.rstd.data<T>()[c] = static_cast<T>(1 / std::sqrt(variance[c] + options.eps));
    }
  });
  if (options.statistics == BatchNormStatistics::kBatch && running_mean.defined()) {
    const auto count = static_cast<double>(p.count);
    update_running(running_mean, mean, 1, options.momentum);
    update_running(running_var, variance, count / (count - 1), options.momentum);
  }

  normalise(x, weight, bias, residual, result.mean, result.rstd, options.activation, result.y);
  return result;
}

template <class T>
void grad_fast(const Tensor& x, const BatchNormOutput& saved, const Tensor& dy,
               const Columns& columns, const BatchNormOptions& options, BatchNormMask mask,
               BatchNormGrads& result) {
  const Packing p(x);
  const auto width = static_cast<size_t>(p.width), channels = static_cast<size_t>(p.channels);
  const T *const in = x.data<T>(), *const slope = dy.data<T>();
  const bool reads_y = mask == BatchNormMask::kAbove0 || mask == BatchNormMask::kAbove0Below6;
  const T* const out = reads_y ? saved.y.data<T>() : nullptr;
  const bool writes_g = result.dresidual.defined() && mask != BatchNormMask::kNone;
  T* const g = writes_g ? result.dresidual.data<T>() : nullptr;

  std::vector<double> totals(slots() * 2 * width);  // a slot's sums of g, then of g * (x - mean)
  std::vector<float> sums(totals.size());
  std::vector<int64_t> width_of(slots());
  for_shares(p, [&](int64_t first, int64_t rows, int64_t n, size_t slot) {
    width_of[slot] = n;
    loops<T>().grad_sums(in + first, out ? out + first : nullptr, slope + first, rows, n,
                         columns.view(), mask, g ? g + first : nullptr,
                         sums.data() + slot * 2 * width, totals.data() + slot * 2 * width);
  });
  std::vector<double> g_sum(channels), dot(channels);
  for (size_t slot = 0; slot < slots(); ++slot) {
    const auto n = static_cast<size_t>(width_of[slot]);
    for (size_t i = 0; i < n; ++i) {
      g_sum[i % channels] += totals[slot * 2 * width + i];
      dot[i % channels] += totals[slot * 2 * width + n + i];
    }
  }

  std::vector<float> k2(channels), k3(channels);
  const bool is_batch = options.statistics == BatchNormStatistics::kBatch;
  for (size_t c = 0; c < channels; ++c) {
    const auto rstd = static_cast<double>(saved.rstd.data<float>()[c]),
               scale = static_cast<double>(columns.scale[c]),
               share = is_batch ? 1 / static_cast<double>(p.count) : 0.0;
    result.dweight.data<float>()[c] = static_cast<float>(dot[c] * rstd);
    result.dbias.data<float>()[c] = static_cast<float>(g_sum[c]);
    k2[c] = static_cast<float>(-scale * rstd * rstd * dot[c] * share);
    k3[c] = static_cast<float>(-scale * g_sum[c] * share);
  }
  k2 = repeated(k2, p);
  k3 = repeated(k3, p);
  // What the first pass masked and wrote need not be masked again.
  const T* const masked = g ? g : slope;
  const BatchNormMask left = g ? BatchNormMask::kNone : mask;
  T* const dx = result.dx.data<T>();
  for_shares(p, [&](int64_t first, int64_t rows, int64_t n, size_t) {
    loops<T>().grad(in + first, out ? out + first : nullptr, masked + first, rows, n,
                    columns.view(), k2.data(), k3.data(), left, dx + first);
  });
}

BatchNormGrads grad(const Tensor& x, const Tensor& weight, const Tensor& bias,
                    const BatchNormOutput& saved, bool has_residual, const Tensor& dy,
                    const BatchNormOptions& options) {
  const Packing p(x);
  const DType wide = wide_of(x.dtype());
  const BatchNormMask mask = mask_of(options.activation, has_residual);
  BatchNormGrads result{empty_like(dy), zeros({p.channels}, wide, x.device()),
                        zeros({p.channels}, wide, x.device()), Tensor()};
  // Without an activation the residual's gradient is dy itself.
  if (has_residual) {
    result.dresidual = mask == BatchNormMask::kNone ? dy : empty_like(dy);
  }
  if (x.dtype() == DType::f64) {
    Tensor g = empty_like(dy);
    reference::grad(x.data<double>(), data_or_null<double>(saved.y), dy.data<double>(), p.count,
                    p.channels, saved.mean.data<double>(), saved.rstd.data<double>(),
                    data_or_null<double>(weight), data_or_null<double>(bias), mask,
                    options.statistics, result.dx.data<double>(), result.dweight.data<double>(),
                    result.dbias.data<double>(), g.data<double>());
    if (has_residual) result.dresidual = g;
    return result;
  }
  const Columns columns(p, saved.mean, saved.rstd, weight, bias);
  if (x.dtype() == DType::f32) {
    grad_fast<float>(x, saved, dy, columns, options, mask, result);
  } else {
    grad_fast<BFloat16>(x, saved, dy, columns, options, mask, result);
  }
  return result;
}

const bool registered = batch_norm_kernels.add(DeviceType::cpu(), {forward, again, grad});

}  // namespace
}  // namespace vtrain
