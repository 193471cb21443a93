#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// ResizeMaps (tensor/ops/resize2d.h) as plain pointers.
struct AxisMapView {
  int64_t in, out;
  const int32_t *start, *source;
  const double* weight;
};
struct ResizeView {
  int64_t channels;
  AxisMapView rows, columns;
};

/// What an output reads of its image: where it lies, and its weight.
struct ResizeTap {
  int64_t from;
  float weight;
};

/// Rows [begin, end) of y, numbered over all images; channels last. `taps` holds as many as an
/// output has at most.
struct Resize2dSimd {
  void (*f32)(const ResizeView& view, const float* x, int64_t begin, int64_t end, ResizeTap* taps,
              float* y);
  void (*bf16)(const ResizeView& view, const BFloat16* x, int64_t begin, int64_t end,
               ResizeTap* taps, BFloat16* y);
};

namespace baseline {
extern const Resize2dSimd resize2d_simd;
}
namespace avx2 {
extern const Resize2dSimd resize2d_simd;
}
namespace avx512 {
extern const Resize2dSimd resize2d_simd;
}
namespace avx512_bf16 {
extern const Resize2dSimd resize2d_simd;
}

}  // namespace vtrain
