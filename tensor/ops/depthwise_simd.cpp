#include "tensor/ops/depthwise_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

/// A pixel and the row of w that multiplies it.
template <class T>
struct Tap {
  const T* pixel;
  const float* w;
};

/// One pixel of a result: what the general case, and the edges of the fast one, are made of.
template <class T>
void sum_taps(const Tap<T>* taps, int64_t count, const float* bias, int64_t channels, T* out) {
  for_vectors(channels, [&](auto at) {
    Vec sum = bias ? at.load_from(bias) : Vec{};
    for (int64_t i = 0; i < count; ++i)
      sum += at.load_from(taps[i].pixel) * at.load_from(taps[i].w);
    at.store_to(out, sum);
  });
}

constexpr int kTile = 4;  // neighbouring pixels that share what they read

/// kTile pixels of y whose columns all lie inside. rows[p] is null outside.
template <int kKernel, int kStride, class T>
void tile(const T* const* rows, const float* w, const float* bias, int64_t channels, T* y) {
  for_vectors(channels, [&](auto at) {
    const Vec start = bias ? at.load_from(bias) : Vec{};
    Vec sum[kTile];
    for (int t = 0; t < kTile; ++t) sum[t] = start;
    for (int p = 0; p < kKernel; ++p) {
      if (!rows[p]) continue;
      Vec weights[kKernel];
#pragma GCC unroll 5
      for (int q = 0; q < kKernel; ++q) weights[q] = at.load_from(w + (p * kKernel + q) * channels);
#pragma GCC unroll 16
      for (int column = 0; column < (kTile - 1) * kStride + kKernel; ++column) {
        const Vec v = at.load_from(rows[p] + column * channels);
#pragma GCC unroll 4
        for (int t = 0; t < kTile; ++t) {
          const int q = column - t * kStride;
          if (q >= 0 && q < kKernel) sum[t] += v * weights[q];
        }
      }
    }
#pragma GCC unroll 4
    for (int t = 0; t < kTile; ++t) at.store_to(y + t * channels, sum[t]);
  });
}

template <class T>
using Tile = void (*)(const T* const* rows, const float* w, const float* bias, int64_t channels,
                      T* y);

/// The tile for a shape, or null.
template <class T>
Tile<T> tile_for(const DepthwiseShape& s) {
  if (s.kernel_h != s.kernel_w || s.dilation_w != 1) return nullptr;
  if (s.kernel_w == 3 && s.stride_w == 1) return tile<3, 1, T>;
  if (s.kernel_w == 3 && s.stride_w == 2) return tile<3, 2, T>;
  if (s.kernel_w == 5 && s.stride_w == 1) return tile<5, 1, T>;
  if (s.kernel_w == 5 && s.stride_w == 2) return tile<5, 2, T>;
  return nullptr;
}

template <class T>
void forward(const DepthwiseShape& s, const T* x, const float* w, const float* bias, int64_t begin,
             int64_t end, T* y) {
  const Tile<T> fast = tile_for<T>(s);
  for (int64_t row = begin; row < end; ++row) {
    const T* const image = x + row / s.h_out * s.h_in * s.w_in * s.channels;
    const int64_t first_h = row % s.h_out * s.stride_h - s.top;
    const auto row_of = [&](int64_t p) -> const T* {
      const int64_t h = first_h + p * s.dilation_h;
      return h < 0 || h >= s.h_in ? nullptr : image + h * s.w_in * s.channels;
    };
    T* out = y + row * s.w_out * s.channels;
    for (int64_t j = 0; j < s.w_out;) {
      const int64_t first_w = j * s.stride_w - s.left;
      if (fast && j + kTile <= s.w_out && first_w >= 0 &&
          first_w + (kTile - 1) * s.stride_w + s.kernel_w <= s.w_in) {
        const T* rows[5];
        for (int64_t p = 0; p < s.kernel_h; ++p) {
          const T* const whole = row_of(p);
          rows[p] = whole ? whole + first_w * s.channels : nullptr;
        }
        fast(rows, w, bias, s.channels, out);
        j += kTile;
        out += kTile * s.channels;
        continue;
      }
      Tap<T> taps[kMaxDepthwiseTaps];
      int64_t count = 0;
      for (int64_t p = 0; p < s.kernel_h; ++p) {
        const T* const whole = row_of(p);
        if (!whole) continue;
        for (int64_t q = 0; q < s.kernel_w; ++q) {
          const int64_t at = first_w + q * s.dilation_w;
          if (at < 0 || at >= s.w_in) continue;
          taps[count++] = {whole + at * s.channels, w + (p * s.kernel_w + q) * s.channels};
        }
      }
      sum_taps(taps, count, bias, s.channels, out);
      ++j;
      out += s.channels;
    }
  }
}

/// The position i of y with i * stride = at, or -1 if there is none in [0, extent).
int64_t position(int64_t at, int64_t stride, int64_t extent) {
  if (at < 0) return -1;
  const auto wide = static_cast<uint32_t>(at), step = static_cast<uint32_t>(stride);
  if (wide % step != 0) return -1;
  const auto i = static_cast<int64_t>(wide / step);
  return i < extent ? i : -1;
}

template <class T>
void grad_x(const DepthwiseShape& s, const T* dy, const float* w, int64_t begin, int64_t end,
            T* dx) {
  for (int64_t row = begin; row < end; ++row) {
    const T* const image = dy + row / s.h_in * s.h_out * s.w_out * s.channels;
    const int64_t h = row % s.h_in;
    for (int64_t column = 0; column < s.w_in; ++column) {
      Tap<T> taps[kMaxDepthwiseTaps];
      int64_t count = 0;
      for (int64_t p = 0; p < s.kernel_h; ++p) {
        const int64_t i = position(h + s.top - p * s.dilation_h, s.stride_h, s.h_out);
        if (i < 0) continue;
        for (int64_t q = 0; q < s.kernel_w; ++q) {
          const int64_t j = position(column + s.left - q * s.dilation_w, s.stride_w, s.w_out);
          if (j < 0) continue;
          taps[count++] = {image + (i * s.w_out + j) * s.channels,
                           w + (p * s.kernel_w + q) * s.channels};
        }
      }
      sum_taps<T>(taps, count, nullptr, s.channels, dx + (row * s.w_in + column) * s.channels);
    }
  }
}

/// dw[p][q] += sum over positions j in [0, count) of dy[j] x[p][j * step + q], elements `channels`
/// apart, for kRows rows of x and a kernel of kColumns: as many sums as hide an addition's latency.
template <int kRows, int kColumns, class T>
void sum_products(const T* dy, const T* const* x, int64_t count, int64_t step, int64_t channels,
                  float* const* dw) {
  for_vectors(channels, [&](auto at) {
    Vec sum[kRows][kColumns] = {};
    for (int64_t j = 0; j < count; ++j) {
      const Vec slope = at.load_from(dy + j * channels);
#pragma GCC unroll 3
      for (int p = 0; p < kRows; ++p) {
#pragma GCC unroll 5
        for (int q = 0; q < kColumns; ++q)
          sum[p][q] += slope * at.load_from(x[p] + (j * step + q) * channels);
      }
    }
    for (int p = 0; p < kRows; ++p) {
      for (int q = 0; q < kColumns; ++q) {
        float* const total = dw[p] + q * channels;
        at.store_to(total, at.load_from(total) + sum[p][q]);
      }
    }
  });
}

constexpr int64_t kStrip = 16;  // positions whose pixels stay in L1 while channels are walked

/// Positions [first, end) of one row of dy, all of whose columns lie inside.
template <int kKernel, class T>
void grad_w_inside(const DepthwiseShape& s, const T* dy, const T* const* rows, int64_t first,
                   int64_t end, float* dw) {
  for (int64_t j = first; j < end; j += kStrip) {
    const int64_t count = end - j < kStrip ? end - j : kStrip;
    const T* x[kKernel];
    float* sums[kKernel];
    int present = 0;
    for (int64_t p = 0; p < kKernel; ++p) {
      if (!rows[p]) continue;
      x[present] = rows[p] + (j * s.stride_w - s.left) * s.channels;
      sums[present++] = dw + p * kKernel * s.channels;
    }
    const T* const slope = dy + j * s.channels;
    int done = 0;
    if constexpr (kKernel == 3) {
      if (present == 3) {
        sum_products<3, 3>(slope, x, count, s.stride_w, s.channels, sums);
        done = 3;
      }
    }
    for (; done < present; ++done)
      sum_products<1, kKernel>(slope, x + done, count, s.stride_w, s.channels, sums + done);
  }
}

template <class T>
void grad_w(const DepthwiseShape& s, const T* dy, const T* x, int64_t begin, int64_t end,
            float* dw) {
  const bool is_fast =
      s.kernel_h == s.kernel_w && s.dilation_w == 1 && (s.kernel_w == 3 || s.kernel_w == 5);
  // Positions whose columns all lie inside.
  int64_t inside = 0, inside_end = 0;
  if (is_fast && s.w_in + s.left >= s.kernel_w) {
    inside = (s.left + s.stride_w - 1) / s.stride_w;
    inside_end = (s.w_in + s.left - s.kernel_w) / s.stride_w + 1;
    if (inside_end > s.w_out) inside_end = s.w_out;
    if (inside > inside_end) inside = inside_end = 0;
  }
  for (int64_t row = begin; row < end; ++row) {
    const T* const image = x + row / s.h_out * s.h_in * s.w_in * s.channels;
    const T* const slopes = dy + row * s.w_out * s.channels;
    const T* rows[kMaxDepthwiseTaps];
    for (int64_t p = 0; p < s.kernel_h; ++p) {
      const int64_t h = row % s.h_out * s.stride_h - s.top + p * s.dilation_h;
      rows[p] = h < 0 || h >= s.h_in ? nullptr : image + h * s.w_in * s.channels;
    }
    if (inside < inside_end) {
      if (s.kernel_w == 3) {
        grad_w_inside<3>(s, slopes, rows, inside, inside_end, dw);
      } else {
        grad_w_inside<5>(s, slopes, rows, inside, inside_end, dw);
      }
    }
    for (int64_t j = 0; j < s.w_out; ++j) {
      if (j == inside && inside < inside_end) j = inside_end;
      if (j >= s.w_out) break;
      const T* const slope = slopes + j * s.channels;
      for (int64_t p = 0; p < s.kernel_h; ++p) {
        if (!rows[p]) continue;
        for (int64_t q = 0; q < s.kernel_w; ++q) {
          const int64_t column = j * s.stride_w - s.left + q * s.dilation_w;
          if (column < 0 || column >= s.w_in) continue;
          const T* const pixel = rows[p] + column * s.channels;
          float* const total = dw + (p * s.kernel_w + q) * s.channels;
          for_vectors(s.channels, [&](auto at) {
            at.store_to(total, at.load_from(total) + at.load_from(slope) * at.load_from(pixel));
          });
        }
      }
    }
  }
}

}  // namespace

const DepthwiseSimd depthwise_simd = {{forward<float>, grad_x<float>, grad_w<float>},
                                      {forward<BFloat16>, grad_x<BFloat16>, grad_w<BFloat16>}};

}  // namespace vtrain::VTRAIN_LEVEL
