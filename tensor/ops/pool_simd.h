#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// PoolWindows (tensor/ops/pool.h) as plain pointers.
struct PoolAxisView {
  int64_t in, out;
  const int32_t *begin, *end, *first, *last;
  const double* share;
};
struct PoolView {
  int64_t channels;
  PoolAxisView rows, columns;
};

/// An output whose window holds a position: where it lies, and the position's number in it.
struct PoolReader {
  int64_t out;
  int32_t tap;
};

/// Images are rows of pixels, channels last; rows are numbered over all images.
template <class T>
struct PoolPasses {
  /// Rows [begin, end) of y, and of taps, of which at most one kind is not null.
  void (*max)(const PoolView& view, const T* x, int64_t begin, int64_t end, T* y, uint8_t* bytes,
              int32_t* words);
  /// Rows [begin, end) of dx. One kind of taps is not null; `readers` holds as many as a position
  /// has at most.
  void (*max_grad)(const PoolView& view, const T* dy, const uint8_t* bytes, const int32_t* words,
                   int64_t begin, int64_t end, PoolReader* readers, T* dx);
  void (*average)(const PoolView& view, const T* x, int64_t begin, int64_t end, T* y);
  void (*average_grad)(const PoolView& view, const T* dy, int64_t begin, int64_t end, T* dx);
};

struct PoolSimd {
  PoolPasses<float> f32;
  PoolPasses<BFloat16> bf16;
};

namespace baseline {
extern const PoolSimd pool_simd;
}
namespace avx2 {
extern const PoolSimd pool_simd;
}
namespace avx512 {
extern const PoolSimd pool_simd;
}
namespace avx512_bf16 {
extern const PoolSimd pool_simd;
}

}  // namespace vtrain
