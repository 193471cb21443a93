#pragma once
// Small matrix products for the *_simd.cpp files: operands in cache, any size, no blocking beyond
// registers. Everything has internal linkage, for simd.h's reason.
#include "tensor/simd.h"

namespace {

// Vectors per tile row, and tile rows for each: as many sums as registers allow beside the
// operands.
constexpr int kMaxVectors = kLanes == 16 ? 4 : 2;
constexpr int max_rows(bool by_column, int vectors) {
  if (kLanes == 16) return vectors == 4 ? 6 : vectors == 3 ? 8 : by_column && vectors == 2 ? 12 : 8;
  return vectors == 2 ? 6 : 8;
}

/// c (rows, cols) = or += a (rows, depth) b (depth, cols), every row i of the result times
/// row_scale[i] if given.
struct Product {
  const float*
      a;  // a(i, k) = a[i * a_stride + k], or a[k * a_stride + i] where a is given by columns
  int64_t a_stride;
  const float* b;  // rows readable in whole vectors
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  int64_t rows, cols, depth;
  const float* row_scale = nullptr;
  bool accumulate = false;
};

template <bool kByColumn, int R, int V>
void tile(const Product& p, int64_t row, int64_t col) {
  const float* a = p.a + (kByColumn ? row : row * p.a_stride);
  const float* b = p.b + col;
  const int64_t a_stride = p.a_stride;
  Vec sum[R][V] = {};
  for (int64_t k = 0; k < p.depth; ++k, b += p.b_stride) {
    Vec bv[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) bv[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec x = splat(kByColumn ? a[r] : a[r * a_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += x * bv[v];
    }
    a += kByColumn ? a_stride : 1;
  }
  const int64_t left = p.cols - col;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    float* const c = p.c + (row + r) * p.c_stride + col;
    const Vec scale = splat(p.row_scale ? p.row_scale[row + r] : 1.0f);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Vec y = sum[r][v] * scale;
      if (left >= (v + 1) * kLanes) {
        if (p.accumulate) y += load(c + v * kLanes);
        store(c + v * kLanes, y);
      } else {
        const int64_t n = left - v * kLanes;
        if (p.accumulate) y += load_first(c + v * kLanes, n);
        store_first(c + v * kLanes, y, n);
      }
    }
  }
}

template <bool kByColumn, int V, int R>
void tile_of_rows(int64_t rows, const Product& p, int64_t row, int64_t col) {
  if (rows == R) return tile<kByColumn, R, V>(p, row, col);
  if constexpr (R > 1) tile_of_rows<kByColumn, V, R - 1>(rows, p, row, col);
}

/// Even shares: 50 rows in tiles of at most 12 are 5 tiles of 10, not 4 of 12 and a poor one of 2.
template <bool kByColumn, int V>
void strip(const Product& p, int64_t col) {
  constexpr int kRows = max_rows(kByColumn, V);
  const int64_t tiles = (p.rows + kRows - 1) / kRows;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = p.rows * t / tiles, end = p.rows * (t + 1) / tiles;
    tile_of_rows<kByColumn, V, kRows>(end - begin, p, begin, col);
  }
}

template <bool kByColumn, int V>
void strip_of_vectors(int64_t vectors, const Product& p, int64_t col) {
  if (vectors == V) return strip<kByColumn, V>(p, col);
  if constexpr (V > 1) strip_of_vectors<kByColumn, V - 1>(vectors, p, col);
}

template <bool kByColumn>
[[maybe_unused]] inline void multiply(const Product& p) {
  const int64_t vectors = (p.cols + kLanes - 1) / kLanes;
  const int64_t strips = (vectors + kMaxVectors - 1) / kMaxVectors;
  for (int64_t s = 0; s < strips; ++s) {
    const int64_t begin = vectors * s / strips, end = vectors * (s + 1) / strips;
    strip_of_vectors<kByColumn, kMaxVectors>(end - begin, p, begin * kLanes);
  }
}

[[maybe_unused]] inline int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

/// to (rows, padded(cols)) = from, the padding 0.
template <class T>  // float or BFloat16
[[maybe_unused]] inline void pack(const T* from, int64_t stride, int64_t rows, int64_t cols,
                                  float* to) {
  const int64_t width = padded(cols);
  for (int64_t i = 0; i < rows; ++i, from += stride, to += width) {
    int64_t j = 0;
    for (; j + kLanes <= cols; j += kLanes) store(to + j, load(from + j));
    if (j < cols) store(to + j, load_first(from + j, cols - j));
  }
}

/// to (padded(cols), padded(rows)) = from^T, the padding 0.
template <class T>
[[maybe_unused]] inline void pack_transposed(const T* from, int64_t stride, int64_t rows,
                                             int64_t cols, float* to) {
  const int64_t width = padded(rows);
  for (int64_t i = 0; i < rows; i += kLanes) {
    for (int64_t j = 0; j < cols; j += kLanes) {
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        const T* const source = from + (i + r) * stride + j;
        block[r] = i + r >= rows        ? Vec{}
                   : j + kLanes <= cols ? load(source)
                                        : load_first(source, cols - j);
      }
      transpose_lanes(block);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) store(to + (j + r) * width + i, block[r]);
    }
  }
}

}  // namespace
