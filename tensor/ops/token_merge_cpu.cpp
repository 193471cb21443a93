#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/token_merge.h"
#include "tensor/ops/token_merge_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

/// Tokens of a matching: A and B as far as they are not special.
struct Halves {
  explicit Halves(int64_t length, int64_t num_special)
      : special_a((num_special + 1) / 2),
        special_b(num_special / 2),
        all_a((length + 1) / 2),
        a(all_a - special_a),
        b(length / 2 - special_b) {}
  int64_t special_a, special_b, all_a, a, b;
};

/// The unit vector along the mean over heads of a token's columns; zeros stay zeros.
template <class Real, class T>
void direction(const T* row, const MatchOptions& o, Real* out) {
  for (int64_t c = 0; c < o.width; ++c) out[c] = row[o.begin + c];
  for (int64_t h = 1; h < o.heads; ++h) {
    for (int64_t c = 0; c < o.width; ++c) out[c] += row[o.begin + h * o.width + c];
  }
  // The number of heads cancels.
  Real squares = 0;
  for (int64_t c = 0; c < o.width; ++c) squares += out[c] * out[c];
  const Real norm = std::sqrt(squares);
  if (norm == 0) return;
  for (int64_t c = 0; c < o.width; ++c) out[c] /= norm;
}

/// The plain loop, in f64.
void best_products(const double* a, int64_t rows, const double* b, int64_t columns, int64_t stride,
                   int64_t width, double* best, int32_t* at) {
  for (int64_t i = 0; i < rows; ++i) {
    best[i] = -std::numeric_limits<double>::infinity();
    at[i] = 0;
    for (int64_t j = 0; j < columns; ++j) {
      double dot = 0;
      for (int64_t c = 0; c < width; ++c) dot += a[i * width + c] * b[c * stride + j];
      if (dot > best[i]) {
        best[i] = dot;
        at[i] = static_cast<int32_t>(j);
      }
    }
  }
}
void best_products(const float* a, int64_t rows, const float* b, int64_t columns, int64_t stride,
                   int64_t width, float* best, int32_t* at) {
  by_level(baseline::token_merge_simd, avx2::token_merge_simd, avx512::token_merge_simd,
           avx512_bf16::token_merge_simd)
      .best_products(a, rows, b, columns, stride, width, best, at);
}

/// What a thread needs for an image.
template <class Real>
struct MatchScratch {
  MatchScratch(const Halves& halves, int64_t width)
      : stride((halves.b + 31) / 32 * 32),
        a(static_cast<size_t>(halves.a * width)),
        b(static_cast<size_t>(stride * width)),
        one(static_cast<size_t>(width)),
        best(static_cast<size_t>(halves.a)),
        at(static_cast<size_t>(halves.a)),
        order(static_cast<size_t>(halves.a)),
        is_merged(static_cast<size_t>(halves.a)) {}
  int64_t stride;
  std::vector<Real> a, b, one, best;
  std::vector<int32_t> at, order;
  std::vector<char> is_merged;
};

/// New positions (L) of one image's tokens x (L, W).
template <class Real, class T>
void match_image(const T* x, int64_t length, int64_t columns, const MatchOptions& o,
                 const Halves& halves, MatchScratch<Real>& s, int32_t* to) {
  for (int64_t i = 0; i < halves.a; ++i)
    direction(x + 2 * (halves.special_a + i) * columns, o, s.a.data() + i * o.width);
  for (int64_t j = 0; j < halves.b; ++j) {
    direction(x + (2 * (halves.special_b + j) + 1) * columns, o, s.one.data());
    for (int64_t c = 0; c < o.width; ++c)
      s.b[static_cast<size_t>(c * s.stride + j)] = s.one[static_cast<size_t>(c)];
  }
  best_products(s.a.data(), halves.a, s.b.data(), halves.b, s.stride, o.width, s.best.data(),
                s.at.data());
  std::iota(s.order.begin(), s.order.end(), 0);
  const auto comes_first = [&](int32_t i, int32_t j) {
    const Real p = s.best[static_cast<size_t>(i)], q = s.best[static_cast<size_t>(j)];
    return p > q || (p == q && i < j);
  };
  std::fill(s.is_merged.begin(), s.is_merged.end(), 0);
  if (o.r > 0) {
    std::nth_element(s.order.begin(), s.order.begin() + (o.r - 1), s.order.end(), comes_first);
    for (int64_t k = 0; k < o.r; ++k)
      s.is_merged[static_cast<size_t>(s.order[static_cast<size_t>(k)])] = 1;
  }
  const auto left_of_a = static_cast<int32_t>(halves.all_a - o.r);
  for (int64_t t = 0; t < o.num_special; ++t) to[t] = static_cast<int32_t>(t);
  for (int64_t t = o.num_special; t < length; ++t) {
    if (t % 2 != 0) to[t] = left_of_a + static_cast<int32_t>(t / 2);
  }
  auto next = static_cast<int32_t>(o.num_special);
  for (int64_t i = 0; i < halves.a; ++i) {
    const auto k = static_cast<size_t>(i);
    to[2 * (halves.special_a + i)] =
        s.is_merged[k] != 0 ? left_of_a + static_cast<int32_t>(halves.special_b) + s.at[k] : next++;
  }
}

Tensor match(const Tensor& x, const MatchOptions& o) {
  const int64_t samples = x.dim(0), length = x.dim(1), columns = x.dim(2);
  Tensor to = Tensor::empty({samples, length}, DType::i32, x.device());
  const Halves halves(length, o.num_special);
  dispatch_real("match_tokens", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    int32_t* const out = to.data<int32_t>();
    parallel_for(samples, 1, [&](int64_t begin, int64_t end) {
      MatchScratch<Compute<T>> scratch(halves, o.width);
      for (int64_t n = begin; n < end; ++n)
        match_image(from + n * length * columns, length, columns, o, halves, scratch,
                    out + n * length);
    });
  });
  return to;
}

/// Every entry is a row, and with `are_all_met` every row has one, in each image.
void check_rows(const char* op, const Tensor& to, int64_t rows, bool are_all_met) {
  const int64_t samples = to.dim(0), length = to.dim(1);
  const int32_t* const all = to.data<int32_t>();
  std::vector<char> is_met(static_cast<size_t>(rows));
  for (int64_t n = 0; n < samples; ++n) {
    std::ranges::fill(is_met, 0);
    for (int64_t a = 0; a < length; ++a) {
      const int32_t row = all[n * length + a];
      if (row < 0 || row >= rows)
        throw ShapeError(str('[', op, "] to: expected entries in 0..", rows - 1, ", got ", row));
      is_met[static_cast<size_t>(row)] = 1;
    }
    const auto empty = std::ranges::find(is_met, 0);
    if (are_all_met && empty != is_met.end())
      throw ShapeError(str('[', op, "] to: expected every row of 0..", rows - 1,
                           " at least once, got none of ", empty - is_met.begin()));
  }
}

/// How many tokens meet in each row of one image, and their sizes' sum.
struct Rows {
  explicit Rows(int64_t rows) : count(static_cast<size_t>(rows)), size(static_cast<size_t>(rows)) {}
  void gather(const int32_t* to, const float* sizes, int64_t length) {
    std::fill(count.begin(), count.end(), 0);
    std::fill(size.begin(), size.end(), 0.0F);
    for (int64_t a = 0; a < length; ++a) {
      ++count[static_cast<size_t>(to[a])];
      size[static_cast<size_t>(to[a])] += sizes ? sizes[a] : 1.0F;
    }
  }
  std::vector<int32_t> count;
  std::vector<float> size;
};

const float* sizes_or_null(const Tensor& sizes, int64_t n, int64_t length) {
  return sizes.defined() ? sizes.data<float>() + n * length : nullptr;
}

/// One image: x (L, C) -> y (rows, C). Rows of several tokens are summed in `sum` (C).
template <class T>
void merge_image(const T* x, const float* sizes, const int32_t* to, int64_t length,
                 int64_t channels, const Rows& rows, std::vector<Compute<T>>& sum, T* y) {
  const auto row_bytes = static_cast<size_t>(channels) * sizeof(T);
  for (int64_t a = 0; a < length; ++a) {
    const auto row = static_cast<size_t>(to[a]);
    T* const out = y + static_cast<int64_t>(row) * channels;
    if (rows.count[row] == 1) {
      std::memcpy(static_cast<void*>(out), x + a * channels, row_bytes);
      continue;
    }
    // Its first token sums all; the others find it done.
    if (std::find(to, to + a, to[a]) != to + a) continue;
    std::fill(sum.begin(), sum.end(), Compute<T>(0));
    for (int64_t other = a; other < length; ++other) {
      if (to[other] != to[a]) continue;
      const Compute<T> size = sizes ? sizes[other] : 1.0F;
      for (int64_t c = 0; c < channels; ++c)
        sum[static_cast<size_t>(c)] += size * static_cast<Compute<T>>(x[other * channels + c]);
    }
    const Compute<T> total = rows.size[row];
    for (int64_t c = 0; c < channels; ++c)
      out[c] = static_cast<T>(sum[static_cast<size_t>(c)] / total);
  }
}

void merge_into(const Tensor& x, const Tensor& sizes, const Tensor& to, Tensor& y) {
  const int64_t samples = x.dim(0), length = x.dim(1), channels = x.dim(2), rows = y.dim(1);
  check_rows("merge_rows", to, rows, /*are_all_met=*/true);
  dispatch_real("merge_rows", x.dtype(), [&]<class T>(T) {
    const T* const from = x.data<T>();
    const int32_t* const at = to.data<int32_t>();
    T* const out = y.data<T>();
    parallel_for(samples, 1, [&](int64_t begin, int64_t end) {
      Rows own(rows);
      std::vector<Compute<T>> sum(static_cast<size_t>(channels));
      for (int64_t n = begin; n < end; ++n) {
        const float* const s = sizes_or_null(sizes, n, length);
        own.gather(at + n * length, s, length);
        merge_image(from + n * length * channels, s, at + n * length, length, channels, own, sum,
                    out + n * rows * channels);
      }
    });
  });
}

Tensor merge(const Tensor& x, const Tensor& sizes, const Tensor& to, int64_t rows) {
  Tensor y = Tensor::empty({x.dim(0), rows, x.dim(2)}, x.dtype(), x.device());
  merge_into(x, sizes, to, y);
  return y;
}

Tensor merge_grad(const Tensor& dy, const Tensor& sizes, const Tensor& to) {
  const int64_t samples = dy.dim(0), rows = dy.dim(1), channels = dy.dim(2), length = to.dim(1);
  check_rows("merge_rows_grad", to, rows, /*are_all_met=*/false);
  Tensor dx = Tensor::empty({samples, length, channels}, dy.dtype(), dy.device());
  const auto row_bytes = static_cast<size_t>(channels) * size_of(dy.dtype());
  dispatch_real("merge_rows_grad", dy.dtype(), [&]<class T>(T) {
    const T* const from = dy.data<T>();
    const int32_t* const at = to.data<int32_t>();
    T* const out = dx.data<T>();
    parallel_for(samples, 1, [&](int64_t begin, int64_t end) {
      Rows own(rows);
      for (int64_t n = begin; n < end; ++n) {
        const float* const s = sizes_or_null(sizes, n, length);
        const int32_t* const image_to = at + n * length;
        own.gather(image_to, s, length);
        for (int64_t a = 0; a < length; ++a) {
          const auto row = static_cast<size_t>(image_to[a]);
          const T* const slope = from + (n * rows + image_to[a]) * channels;
          T* const to_row = out + (n * length + a) * channels;
          if (own.count[row] == 1) {
            std::memcpy(static_cast<void*>(to_row), slope, row_bytes);
            continue;
          }
          const Compute<T> share = Compute<T>(s ? s[a] : 1.0F) / Compute<T>(own.size[row]);
          for (int64_t c = 0; c < channels; ++c)
            to_row[c] = static_cast<T>(static_cast<Compute<T>>(slope[c]) * share);
        }
      }
    });
  });
  return dx;
}

Tensor sizes_of(const Tensor& sizes, const Tensor& to, int64_t rows) {
  const int64_t samples = to.dim(0), length = to.dim(1);
  check_rows("merge_sizes", to, rows, /*are_all_met=*/false);
  Tensor y = Tensor::empty({samples, rows}, DType::f32, to.device());
  Rows own(rows);
  for (int64_t n = 0; n < samples; ++n) {
    own.gather(to.data<int32_t>() + n * length, sizes_or_null(sizes, n, length), length);
    std::copy(own.size.begin(), own.size.end(), y.data<float>() + n * rows);
  }
  return y;
}

const bool registered =
    token_merge_kernels.add(DeviceType::cpu(), {match, merge, merge_grad, sizes_of, merge_into});

}  // namespace
}  // namespace vtrain
