#include <algorithm>
#include <type_traits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/pool.h"
#include "tensor/ops/pool_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

template <class T>
const PoolPasses<T>& simd() {
  const PoolSimd& all =
      by_level(baseline::pool_simd, avx2::pool_simd, avx512::pool_simd, avx512_bf16::pool_simd);
  if constexpr (std::is_same_v<T, float>) {
    return all.f32;
  } else {
    return all.bf16;
  }
}

PoolAxisView view_of(const PoolAxis& axis) {
  return {axis.in,           axis.out,         axis.begin.data(), axis.end.data(),
          axis.first.data(), axis.last.data(), axis.share.data()};
}

int64_t most_readers(const PoolAxis& axis) {
  int64_t most = 0;
  for (size_t p = 0; p < axis.first.size(); ++p)
    most = std::max<int64_t>(most, axis.last[p] - axis.first[p]);
  return most;
}

/// The plain loops, channel by channel.
namespace reference {

template <class T, class Tap>
void max(const PoolView& v, const T* x, int64_t begin, int64_t end, T* y, Tap* taps) {
  for (int64_t r = begin; r < end; ++r) {
    const T* const image = x + r / v.rows.out * v.rows.in * v.columns.in * v.channels;
    const int64_t i = r % v.rows.out;
    for (int64_t j = 0; j < v.columns.out; ++j) {
      for (int64_t c = 0; c < v.channels; ++c) {
        T best = 0;
        int32_t chosen = 0, tap = 0;
        for (int64_t h = v.rows.begin[i]; h < v.rows.end[i]; ++h) {
          for (int64_t w = v.columns.begin[j]; w < v.columns.end[j]; ++w, ++tap) {
            const T value = image[(h * v.columns.in + w) * v.channels + c];
            if (tap > 0 && !(value > best) && value == value) continue;
            best = value;
            chosen = tap;
          }
        }
        const int64_t out = (r * v.columns.out + j) * v.channels + c;
        y[out] = best;
        if (taps) taps[out] = static_cast<Tap>(chosen);
      }
    }
  }
}

/// f(position in x, output, number of the position within the output's window), for rows
/// [begin, end) of x and the outputs that read them, in ascending order.
template <class F>
void for_readers(const PoolView& v, int64_t begin, int64_t end, const F& f) {
  for (int64_t r = begin; r < end; ++r) {
    const int64_t n = r / v.rows.in, h = r % v.rows.in;
    for (int64_t w = 0; w < v.columns.in; ++w) {
      for (int64_t i = v.rows.first[h]; i < v.rows.last[h]; ++i) {
        for (int64_t j = v.columns.first[w]; j < v.columns.last[w]; ++j) {
          const int64_t width = v.columns.end[j] - v.columns.begin[j];
          f(r * v.columns.in + w, (n * v.rows.out + i) * v.columns.out + j,
            (h - v.rows.begin[i]) * width + w - v.columns.begin[j],
            v.rows.share[i] * v.columns.share[j]);
        }
      }
    }
  }
}

template <class T, class Tap>
void max_grad(const PoolView& v, const T* dy, const Tap* taps, int64_t begin, int64_t end, T* dx) {
  for_readers(v, begin, end, [&](int64_t position, int64_t output, int64_t tap, double) {
    for (int64_t c = 0; c < v.channels; ++c) {
      const int64_t out = output * v.channels + c;
      if (taps[out] == tap) dx[position * v.channels + c] += dy[out];
    }
  });
}

template <class T>
void average(const PoolView& v, const T* x, int64_t begin, int64_t end, T* y) {
  for (int64_t r = begin; r < end; ++r) {
    const T* const image = x + r / v.rows.out * v.rows.in * v.columns.in * v.channels;
    const int64_t i = r % v.rows.out;
    for (int64_t j = 0; j < v.columns.out; ++j) {
      for (int64_t c = 0; c < v.channels; ++c) {
        T sum = 0;
        for (int64_t h = v.rows.begin[i]; h < v.rows.end[i]; ++h) {
          for (int64_t w = v.columns.begin[j]; w < v.columns.end[j]; ++w)
            sum += image[(h * v.columns.in + w) * v.channels + c];
        }
        y[(r * v.columns.out + j) * v.channels + c] =
            sum * static_cast<T>(v.rows.share[i] * v.columns.share[j]);
      }
    }
  }
}

template <class T>
void average_grad(const PoolView& v, const T* dy, int64_t begin, int64_t end, T* dx) {
  for_readers(v, begin, end, [&](int64_t position, int64_t output, int64_t, double share) {
    for (int64_t c = 0; c < v.channels; ++c)
      dx[position * v.channels + c] += dy[output * v.channels + c] * static_cast<T>(share);
  });
}

}  // namespace reference

/// f(begin, end) over `rows` rows of about `row` elements each.
template <class F>
void for_rows(int64_t rows, int64_t row, const F& f) {
  parallel_for(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(row, 1)), f);
}

void max(const Tensor& x, const PoolWindows& windows, Tensor& y, Tensor& taps) {
  const PoolView view{x.dim(1), view_of(windows.rows), view_of(windows.columns)};
  const bool is_wide = taps.defined() && taps.dtype() == DType::i32;
  uint8_t* const bytes = taps.defined() && !is_wide ? taps.data<uint8_t>() : nullptr;
  int32_t* const words = is_wide ? taps.data<int32_t>() : nullptr;
  dispatch_real("max_pool", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    for_rows(x.dim(0) * view.rows.out, x.numel() / (x.dim(0) * view.rows.out),
             [&](int64_t begin, int64_t end) {
               if constexpr (!std::is_same_v<T, double>) {
                 simd<T>().max(view, from, begin, end, to, bytes, words);
               } else if (is_wide) {
                 reference::max(view, from, begin, end, to, words);
               } else {
                 reference::max(view, from, begin, end, to, bytes);
               }
             });
  });
}

void max_grad(const Tensor& dy, const Tensor& taps, const PoolWindows& windows, Tensor& dx) {
  const PoolView view{dy.dim(1), view_of(windows.rows), view_of(windows.columns)};
  const bool is_wide = taps.dtype() == DType::i32;
  const uint8_t* const bytes = is_wide ? nullptr : taps.data<uint8_t>();
  const int32_t* const words = is_wide ? taps.data<int32_t>() : nullptr;
  const auto most = static_cast<size_t>(most_readers(windows.rows) * most_readers(windows.columns));
  dispatch_real("max_pool_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.data<T>();
    if constexpr (std::is_same_v<T, double>) dx.fill(0);
    for_rows(dx.dim(0) * view.rows.in, view.columns.in * view.channels,
             [&](int64_t begin, int64_t end) {
               if constexpr (!std::is_same_v<T, double>) {
                 std::vector<PoolReader> readers(most);
                 simd<T>().max_grad(view, from, bytes, words, begin, end, readers.data(), to);
               } else if (is_wide) {
                 reference::max_grad(view, from, words, begin, end, to);
               } else {
                 reference::max_grad(view, from, bytes, begin, end, to);
               }
             });
  });
}

void average(const Tensor& x, const PoolWindows& windows, Tensor& y) {
  const PoolView view{x.dim(1), view_of(windows.rows), view_of(windows.columns)};
  dispatch_real("average_pool", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.data<T>();
    for_rows(x.dim(0) * view.rows.out, x.numel() / (x.dim(0) * view.rows.out),
             [&](int64_t begin, int64_t end) {
               if constexpr (std::is_same_v<T, double>) {
                 reference::average(view, from, begin, end, to);
               } else {
                 simd<T>().average(view, from, begin, end, to);
               }
             });
  });
}

void average_grad(const Tensor& dy, const PoolWindows& windows, Tensor& dx) {
  const PoolView view{dy.dim(1), view_of(windows.rows), view_of(windows.columns)};
  dispatch_real("average_pool_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.data<T>();
    if constexpr (std::is_same_v<T, double>) dx.fill(0);
    for_rows(dx.dim(0) * view.rows.in, view.columns.in * view.channels,
             [&](int64_t begin, int64_t end) {
               if constexpr (std::is_same_v<T, double>) {
                 reference::average_grad(view, from, begin, end, to);
               } else {
                 simd<T>().average_grad(view, from, begin, end, to);
               }
             });
  });
}

const bool registered = pool_kernels.add(DeviceType::cpu(), {max, max_grad, average, average_grad});

}  // namespace
}  // namespace vtrain
