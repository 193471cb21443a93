// Vectors run over channels. Both gradients collect, for each position, what the outputs that read
// it give: sums stay in registers, and each element of dx has one writer and one order.
#include "tensor/ops/pool_simd.h"

#include "tensor/simd.h"
#include "tensor/simd_ints.h"

namespace vtrain::VTRAIN_LEVEL {
namespace {

IVec splat_tap(int32_t tap) { return tap - IVec{}; }

/// f(image, offset in y of row r's column j, i, j) for the outputs of rows [begin, end).
template <class F>
void for_outputs(const PoolView& view, int64_t begin, int64_t end, const F& f) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t image = r / rows.out * rows.in * columns.in * channels, i = r % rows.out;
    for (int64_t j = 0; j < columns.out; ++j) f(image, (r * columns.out + j) * channels, i, j);
  }
}

/// f(offset in y of the image, offset in x, row, column) for the positions of rows [begin, end).
template <class F>
void for_positions(const PoolView& view, int64_t begin, int64_t end, const F& f) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t image = r / rows.in * rows.out * columns.out * channels, h = r % rows.in;
    for (int64_t w = 0; w < columns.in; ++w) f(image, (r * columns.in + w) * channels, h, w);
  }
}

template <class T, class Tap, bool kKeepsTaps>
void max_loop(const PoolView& view, const T* x, int64_t begin, int64_t end, T* y, Tap* taps) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  const int64_t row_step = columns.in * channels;
  for_outputs(view, begin, end, [&](int64_t image, int64_t out, int64_t i, int64_t j) {
    const int64_t height = rows.end[i] - rows.begin[i], width = columns.end[j] - columns.begin[j];
    const T* const corner = x + image + rows.begin[i] * row_step + columns.begin[j] * channels;
    for_vectors(channels, [&](auto at) {
      Vec best = at.load_from(corner);
      IVec chosen{};
      int32_t tap = 0;
      for (int64_t p = 0; p < height; ++p) {
        for (int64_t q = 0; q < width; ++q, ++tap) {
          const Vec v = at.load_from(corner + p * row_step + q * channels);
          const IVec is_taken = (v > best) | (v != v);
          best = choose(is_taken, v, best);
          if constexpr (kKeepsTaps) chosen = is_taken ? splat_tap(tap) : chosen;
        }
      }
      at.store_to(y + out, best);
      if constexpr (kKeepsTaps) store_ints(taps + out, chosen, at);
    });
  });
}

template <class T>
void max(const PoolView& view, const T* x, int64_t begin, int64_t end, T* y, uint8_t* bytes,
         int32_t* words) {
  if (bytes) return max_loop<T, uint8_t, true>(view, x, begin, end, y, bytes);
  if (words) return max_loop<T, int32_t, true>(view, x, begin, end, y, words);
  max_loop<T, uint8_t, false>(view, x, begin, end, y, nullptr);
}

/// dx of one position from its readers; kCount is their number, or 0 for any.
template <int kCount, class T, class Tap>
void max_grad_at(const PoolReader* readers, int64_t count, const T* dy, const Tap* taps,
                 int64_t channels, T* dx) {
  const int64_t n = kCount > 0 ? kCount : count;
  for_vectors(channels, [&](auto at) {
    Vec sum{};
#pragma GCC unroll 9
    for (int64_t k = 0; k < n; ++k) {
      const IVec is_source = load_ints(taps + readers[k].out, at) == splat_tap(readers[k].tap);
      sum += choose(is_source, at.load_from(dy + readers[k].out), Vec{});
    }
    at.store_to(dx, sum);
  });
}

// Readers are found once per position, not once per vector, and the usual numbers of them, those of
// windows that touch, overlap by half or by two thirds, are unrolled: 3x3 with stride 2 takes 0.6
// of the time that a loop over rows and columns of outputs takes (AVX2, f32).
template <class T, class Tap>
void max_grad_loop(const PoolView& view, const T* dy, const Tap* taps, int64_t begin, int64_t end,
                   PoolReader* readers, T* dx) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  for_positions(view, begin, end, [&](int64_t image, int64_t in, int64_t h, int64_t w) {
    int64_t count = 0;
    for (int64_t i = rows.first[h]; i < rows.last[h]; ++i) {
      for (int64_t j = columns.first[w]; j < columns.last[w]; ++j) {
        const int64_t width = columns.end[j] - columns.begin[j],
                      tap = (h - rows.begin[i]) * width + w - columns.begin[j];
        readers[count++] = {image + (i * columns.out + j) * channels, static_cast<int32_t>(tap)};
      }
    }
    switch (count) {
      case 1:
        return max_grad_at<1>(readers, count, dy, taps, channels, dx + in);
      case 2:
        return max_grad_at<2>(readers, count, dy, taps, channels, dx + in);
      case 4:
        return max_grad_at<4>(readers, count, dy, taps, channels, dx + in);
      case 9:
        return max_grad_at<9>(readers, count, dy, taps, channels, dx + in);
      default:
        return max_grad_at<0>(readers, count, dy, taps, channels, dx + in);
    }
  });
}

template <class T>
void max_grad(const PoolView& view, const T* dy, const uint8_t* bytes, const int32_t* words,
              int64_t begin, int64_t end, PoolReader* readers, T* dx) {
  if (bytes) return max_grad_loop(view, dy, bytes, begin, end, readers, dx);
  max_grad_loop(view, dy, words, begin, end, readers, dx);
}

template <class T>
void average(const PoolView& view, const T* x, int64_t begin, int64_t end, T* y) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  const int64_t row_step = columns.in * channels;
  for_outputs(view, begin, end, [&](int64_t image, int64_t out, int64_t i, int64_t j) {
    const int64_t height = rows.end[i] - rows.begin[i], width = columns.end[j] - columns.begin[j];
    const T* const corner = x + image + rows.begin[i] * row_step + columns.begin[j] * channels;
    const auto share = static_cast<float>(rows.share[i] * columns.share[j]);
    for_vectors(channels, [&](auto at) {
      Vec sum{};
      for (int64_t p = 0; p < height; ++p) {
        Vec row{};  // two levels: the rounding of a large window grows with its side, not its area
        for (int64_t q = 0; q < width; ++q)
          row += at.load_from(corner + p * row_step + q * channels);
        sum += row;
      }
      at.store_to(y + out, sum * share);
    });
  });
}

template <class T>
void average_grad(const PoolView& view, const T* dy, int64_t begin, int64_t end, T* dx) {
  const int64_t channels = view.channels;
  const PoolAxisView &rows = view.rows, &columns = view.columns;
  for_positions(view, begin, end, [&](int64_t image, int64_t in, int64_t h, int64_t w) {
    for_vectors(channels, [&](auto at) {
      Vec sum{};
      for (int64_t i = rows.first[h]; i < rows.last[h]; ++i) {
        for (int64_t j = columns.first[w]; j < columns.last[w]; ++j) {
          const auto share = static_cast<float>(rows.share[i] * columns.share[j]);
          sum += at.load_from(dy + image + (i * columns.out + j) * channels) * share;
        }
      }
      at.store_to(dx + in, sum);
    });
  });
}

template <class T>
constexpr PoolPasses<T> passes() {
  return {max<T>, max_grad<T>, average<T>, average_grad<T>};
}

}  // namespace

const PoolSimd pool_simd = {passes<float>(), passes<BFloat16>()};

}  // namespace vtrain::VTRAIN_LEVEL
