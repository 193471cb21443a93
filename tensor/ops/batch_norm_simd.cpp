// Rows are walked in memory order, four at a time, so that what belongs to a column is read once
// for them; its sums live in a small array, which stays in L1.
#include "tensor/ops/batch_norm_simd.h"

#include "tensor/simd.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

constexpr int64_t kRun = 64;  // rows summed in f32: the rounding of runs stays below a few 1e-6

/// f<R>(first row, rows behind each other) over all rows, the last ones one by one.
template <class F>
void for_rows(int64_t begin, int64_t end, const F& f) {
  int64_t r = begin;
  for (; r + 4 <= end; r += 4) f.template operator()<4>(r);
  for (; r < end; ++r) f.template operator()<1>(r);
}

/// The same from the last row to the first: a second pass then meets in cache what the first left.
template <class F>
void for_rows_backwards(int64_t rows, const F& f) {
  int64_t r = rows;
  for (; r % 4 != 0; --r) f.template operator()<1>(r - 1);
  for (; r > 0; r -= 4) f.template operator()<4>(r - 4);
}

/// Deviations are taken from the run's first row. It is one of the summed rows, so the sum of their
/// squares is at most kRun + 1 times that about the mean, and little is lost by the subtraction,
/// wherever the mean lies. Runs are joined in double: Chan, Golub, LeVeque, "Updating Formulae and
/// a Pairwise Algorithm for Computing Sample Variances", 1979.
template <class T>
void statistics(const T* x, int64_t rows, int64_t width, float* sums, double* mean,
                double* squares) {
  float *const sum = sums, *const square = sums + width;
  for (int64_t begin = 0; begin < rows; begin += kRun) {
    const int64_t end = begin + kRun < rows ? begin + kRun : rows;
    const T* const first = x + begin * width;
    for (int64_t i = 0; i < 2 * width; ++i) sums[i] = 0;
    for_rows(begin, end, [&]<int R>(int64_t r) {
      const T* const row = x + r * width;
      for_vectors(width, [&](auto at) {
        const Vec origin = at.load_from(first);
        Vec s = at.load_from(sum), q = at.load_from(square);
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i) {
          const Vec d = at.load_from(row + i * width) - origin;
          s += d;
          q += d * d;
        }
        at.store_to(sum, s);
        at.store_to(square, q);
      });
    });
    const auto count = static_cast<double>(end - begin);
    const double one_of_run = 1 / count, before = static_cast<double>(begin);
    const double share = count / (before + count), weight = before * share;
    for (int64_t c = 0; c < width; ++c) {
      const double run_sum = static_cast<double>(sum[c]);
      const double run_mean =
          static_cast<double>(static_cast<float>(first[c])) + run_sum * one_of_run;
      const double run_squares = static_cast<double>(square[c]) - run_sum * run_sum * one_of_run;
      const double old_mean = begin == 0 ? run_mean : mean[c];
      const double step = run_mean - old_mean;
      const double old_squares = begin == 0 ? 0.0 : squares[c];
      mean[c] = old_mean + step * share;
      squares[c] = old_squares + (run_squares > 0 ? run_squares : 0.0) + step * step * weight;
    }
  }
}

/// One expression for the forward pass and for the mask that backward works out again.
inline Vec affine(Vec x, Vec mean, Vec scale, Vec shift) { return (x - mean) * scale + shift; }

template <BatchNormClamp kClamp>
Vec clamped(Vec v) {
  if constexpr (kClamp != BatchNormClamp::kNone) v = vmax(Vec{}, v);
  if constexpr (kClamp == BatchNormClamp::kAbove0Below6) v = vmin(splat(6.0f), v);
  return v;
}

template <class T, BatchNormClamp kClamp, bool kHasResidual>
void forward_loop(const T* x, const T* residual, int64_t rows, int64_t width,
                  const BatchNormColumns& columns, T* y) {
  for_rows_backwards(rows, [&]<int R>(int64_t r) {
    const int64_t first = r * width;
    for_vectors(width, [&](auto at) {
      const Vec mean = at.load_from(columns.mean), scale = at.load_from(columns.scale),
                shift = at.load_from(columns.shift);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const int64_t row = first + i * width;
        Vec v = affine(at.load_from(x + row), mean, scale, shift);
        if constexpr (kHasResidual) v += at.load_from(residual + row);
        at.store_to(y + row, clamped<kClamp>(v));
      }
    });
  });
}

template <class T, BatchNormClamp kClamp>
void forward_clamped(const T* x, const T* residual, int64_t rows, int64_t width,
                     const BatchNormColumns& columns, T* y) {
  if (residual) {
    forward_loop<T, kClamp, true>(x, residual, rows, width, columns, y);
  } else {
    forward_loop<T, kClamp, false>(x, residual, rows, width, columns, y);
  }
}

template <class T>
void forward(const T* x, const T* residual, int64_t rows, int64_t width,
             const BatchNormColumns& columns, BatchNormClamp clamp, T* y) {
  switch (clamp) {
    case BatchNormClamp::kNone:
      return forward_clamped<T, BatchNormClamp::kNone>(x, residual, rows, width, columns, y);
    case BatchNormClamp::kAbove0:
      return forward_clamped<T, BatchNormClamp::kAbove0>(x, residual, rows, width, columns, y);
    case BatchNormClamp::kAbove0Below6:
      return forward_clamped<T, BatchNormClamp::kAbove0Below6>(x, residual, rows, width, columns,
                                                               y);
  }
}

/// dy where the mask lets it through. `centred` is x - mean; the output's row begins at y[row].
template <BatchNormMask kMask, class T, class At>
Vec masked(Vec dy, Vec centred, Vec scale, Vec shift, const T* y, int64_t row, At at) {
  if constexpr (kMask == BatchNormMask::kInput) {
    return choose(centred * scale + shift > Vec{}, dy, Vec{});
  } else if constexpr (kMask == BatchNormMask::kInputBelow6) {
    const Vec v = centred * scale + shift;
    return choose((v > Vec{}) & (v < splat(6.0f)), dy, Vec{});
  } else if constexpr (kMask == BatchNormMask::kAbove0) {
    return choose(at.load_from(y + row) > Vec{}, dy, Vec{});
  } else if constexpr (kMask == BatchNormMask::kAbove0Below6) {
    const Vec out = at.load_from(y + row);
    return choose((out > Vec{}) & (out < splat(6.0f)), dy, Vec{});
  } else {
    return dy;
  }
}

template <class T, BatchNormMask kMask, bool kWritesG>
void grad_sums_loop(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
                    const BatchNormColumns& columns, T* g, float* sums, double* totals) {
  float *const sum = sums, *const dot = sums + width;
  for (int64_t begin = 0; begin < rows; begin += kRun) {
    const int64_t end = begin + kRun < rows ? begin + kRun : rows;
    for (int64_t i = 0; i < 2 * width; ++i) sums[i] = 0;
    for_rows(begin, end, [&]<int R>(int64_t r) {
      const int64_t first = r * width;
      for_vectors(width, [&](auto at) {
        const Vec mean = at.load_from(columns.mean), scale = at.load_from(columns.scale),
                  shift = at.load_from(columns.shift);
        Vec s = at.load_from(sum), q = at.load_from(dot);
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i) {
          const int64_t row = first + i * width;
          const Vec centred = at.load_from(x + row) - mean;
          const Vec slope =
              masked<kMask>(at.load_from(dy + row), centred, scale, shift, y, row, at);
          if constexpr (kWritesG) at.store_to(g + row, slope);
          s += slope;
          q += slope * centred;
        }
        at.store_to(sum, s);
        at.store_to(dot, q);
      });
    });
    for (int64_t i = 0; i < 2 * width; ++i) totals[i] += static_cast<double>(sums[i]);
  }
}

template <class T, BatchNormMask kMask>
void grad_loop(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
               const BatchNormColumns& columns, const float* slope, const float* offset, T* dx) {
  for_rows_backwards(rows, [&]<int R>(int64_t r) {
    const int64_t first = r * width;
    for_vectors(width, [&](auto at) {
      const Vec mean = at.load_from(columns.mean), scale = at.load_from(columns.scale),
                shift = at.load_from(columns.shift), k2 = at.load_from(slope),
                k3 = at.load_from(offset);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const int64_t row = first + i * width;
        const Vec centred = at.load_from(x + row) - mean;
        const Vec g = masked<kMask>(at.load_from(dy + row), centred, scale, shift, y, row, at);
        at.store_to(dx + row, g * scale + (centred * k2 + k3));
      }
    });
  });
}

/// f<kMask>() for the mask at hand.
template <class F>
void with_mask(BatchNormMask mask, const F& f) {
  switch (mask) {
    case BatchNormMask::kNone:
      return f.template operator()<BatchNormMask::kNone>();
    case BatchNormMask::kInput:
      return f.template operator()<BatchNormMask::kInput>();
    case BatchNormMask::kInputBelow6:
      return f.template operator()<BatchNormMask::kInputBelow6>();
    case BatchNormMask::kAbove0:
      return f.template operator()<BatchNormMask::kAbove0>();
    case BatchNormMask::kAbove0Below6:
      return f.template operator()<BatchNormMask::kAbove0Below6>();
  }
}

template <class T>
void grad_sums(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
               const BatchNormColumns& columns, BatchNormMask mask, T* g, float* sums,
               double* totals) {
  with_mask(mask, [&]<BatchNormMask kMask>() {
    if (g) {
      grad_sums_loop<T, kMask, true>(x, y, dy, rows, width, columns, g, sums, totals);
    } else {
      grad_sums_loop<T, kMask, false>(x, y, dy, rows, width, columns, g, sums, totals);
    }
  });
}

template <class T>
void grad(const T* x, const T* y, const T* dy, int64_t rows, int64_t width,
          const BatchNormColumns& columns, const float* slope, const float* offset,
          BatchNormMask mask, T* dx) {
  with_mask(mask, [&]<BatchNormMask kMask>() {
    grad_loop<T, kMask>(x, y, dy, rows, width, columns, slope, offset, dx);
  });
}

template <class T>
constexpr BatchNormLoops<T> loops{statistics<T>, forward<T>, grad_sums<T>, grad<T>};

}  // namespace

const BatchNormSimd batch_norm_simd = {loops<float>, loops<BFloat16>};

}  // namespace vtrain::VTRAIN_LEVEL
