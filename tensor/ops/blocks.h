#pragma once
// Loops over bf16 elements that compute in f32: a block is widened, worked on and rounded once, in
// L1. So one plain loop over floats serves both dtypes, and no kernel is written per pair of them.
#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#include "tensor/convert.h"
#include "tensor/dtype.h"

namespace vtrain {

constexpr int64_t kBlock = 1024;  // elements: three f32 blocks fit L1 beside their bf16 sources
using Block = std::array<float, static_cast<size_t>(kBlock)>;

/// f(first, count) over [0, n) in blocks.
template <class F>
void for_blocks(int64_t n, const F& f) {
  for (int64_t first = 0; first < n; first += kBlock) f(first, std::min(kBlock, n - first));
}

/// y[i] = f(x[i]) for n neighbouring elements of float, double or BFloat16; f sees a Compute<T>.
template <class T, class F>
void map_elements(const T* x, T* y, int64_t n, const F& f) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    Block block;
    for_blocks(n, [&](int64_t first, int64_t count) {
      widen(x + first, block.data(), count);
      for (int64_t i = 0; i < count; ++i) {
        float& v = block[static_cast<size_t>(i)];
        v = f(v);
      }
      narrow(block.data(), y + first, count);
    });
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = f(x[i]);
  }
}

/// y[i] = f(a[i], b[i]), y may be a.
template <class T, class F>
void map_elements(const T* a, const T* b, T* y, int64_t n, const F& f) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    Block left, right;
    for_blocks(n, [&](int64_t first, int64_t count) {
      widen(a + first, left.data(), count);
      widen(b + first, right.data(), count);
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) left[i] = f(left[i], right[i]);
      narrow(left.data(), y + first, count);
    });
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  }
}

}  // namespace vtrain
