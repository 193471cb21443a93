#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// A convolution of every channel with its own kernel; images (rows of pixels, channels last).
struct DepthwiseShape {
  int64_t channels, h_in, w_in, h_out, w_out;
  int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left;
};
constexpr int64_t kMaxDepthwiseTaps = 121;  // kernel_h * kernel_w

/// Rows are numbered over all images. w (kernel_h * kernel_w, C), in f32.
template <class T>
struct DepthwisePasses {
  /// Rows [begin, end) of y. bias is (C) or null.
  void (*forward)(const DepthwiseShape& shape, const T* x, const float* w, const float* bias,
                  int64_t begin, int64_t end, T* y);
  /// Rows [begin, end) of dx.
  void (*grad_x)(const DepthwiseShape& shape, const T* dy, const float* w, int64_t begin,
                 int64_t end, T* dx);
  /// Adds what rows [begin, end) of dy give to dw (kernel_h * kernel_w, C).
  void (*grad_w)(const DepthwiseShape& shape, const T* dy, const T* x, int64_t begin, int64_t end,
                 float* dw);
};

struct DepthwiseSimd {
  DepthwisePasses<float> f32;
  DepthwisePasses<BFloat16> bf16;
};

namespace baseline {
extern const DepthwiseSimd depthwise_simd;
}
namespace avx2 {
extern const DepthwiseSimd depthwise_simd;
}
namespace avx512 {
extern const DepthwiseSimd depthwise_simd;
}
namespace avx512_bf16 {
extern const DepthwiseSimd depthwise_simd;
}

}  // namespace vtrain
