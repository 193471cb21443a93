#pragma once
// What the integer layers and their two kinds of kernels share: compress/deploy/int8_kernels.h.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {

/// Sizes of one call, channels last. A linear layer is a convolution of n images of one pixel.
struct Int8Geometry {
  int64_t n = 1, c_in = 0, h_in = 1, w_in = 1, c_out = 0, h_out = 1, w_out = 1;
  int64_t kernel_h = 1, kernel_w = 1;
  Conv2dOptions options = {};
  bool is_linear = false;

  int64_t taps() const { return kernel_h * kernel_w * (c_in / options.groups); }
};

/// The formula's constants, in units of output codes.
struct Int8Epilogue {
  DType input = DType::u8, output = DType::u8;  // output: u8, i8, f32, or i32 for bare sums
  int32_t input_zero_point = 0, output_zero_point = 0;
  std::vector<float> bias;   // (O), in units of the sum; empty: none
  std::vector<float> scale;  // (O); empty for bare sums
  bool adds_residual = false;
  DType residual = DType::u8;
  float residual_scale = 1;
  int32_t residual_zero_point = 0;
  float floor = -std::numeric_limits<float>::infinity();  // of the activation
  float ceiling = std::numeric_limits<float>::infinity();
  float low = 0, high = 0;  // codes

  float real(int32_t sum, int64_t channel, float residual_code) const {
    float f = static_cast<float>(sum);
    if (!bias.empty()) f += bias[static_cast<size_t>(channel)];
    f *= scale[static_cast<size_t>(channel)];
    if (adds_residual)
      f = std::fma(residual_scale, residual_code - static_cast<float>(residual_zero_point), f);
    return std::min(std::max(f, floor), ceiling);
  }
  int32_t code(float f) const {
    const float shifted = f + static_cast<float>(output_zero_point);
    return static_cast<int32_t>(std::nearbyint(std::min(std::max(shifted, low), high)));
  }
};

struct Int8Layer;
Int8Epilogue int8_epilogue(const Int8Layer& layer);

/// Element i of codes or reals.
inline float stored_code(DType dtype, const void* p, int64_t i) {
  if (dtype == DType::f32) return static_cast<const float*>(p)[i];
  if (dtype == DType::i8) return static_cast<const int8_t*>(p)[i];
  return static_cast<const uint8_t*>(p)[i];
}

/// y[i] of a sum; `residual` holds what is added, maybe in y's own memory.
inline void write_result(const Int8Epilogue& e, int32_t sum, int64_t channel, const void* residual,
                         void* y, int64_t i) {
  if (e.output == DType::i32) {
    static_cast<int32_t*>(y)[i] = sum;
    return;
  }
  const float f = e.real(sum, channel, e.adds_residual ? stored_code(e.residual, residual, i) : 0);
  if (e.output == DType::f32) {
    static_cast<float*>(y)[i] = f;
  } else if (e.output == DType::i8) {
    static_cast<int8_t*>(y)[i] = static_cast<int8_t>(e.code(f));
  } else {
    static_cast<uint8_t*>(y)[i] = static_cast<uint8_t>(e.code(f));
  }
}

/// Kernels of our own, exact at every level.
class ExactInt8Kernel {
 public:
  /// weight: (O, C / groups, kh, kw) i8, contiguous.
  ExactInt8Kernel(const int8_t* weight, const Int8Geometry& geometry);
  void run(const Int8Geometry& g, const Int8Epilogue& e, const void* x, const void* residual,
           void* y) const;

 private:
  template <class T>
  void products(const Int8Geometry& g, const Int8Epilogue& e, const T* x, const void* residual,
                void* y) const;
  template <class T>
  void depthwise(const Int8Geometry& g, const Int8Epilogue& e, const T* x, const void* residual,
                 void* y) const;

  bool is_depthwise_;
  int64_t length_;   // taps of a sum, made even
  int64_t columns_;  // output channels of a group, padded; all channels if depthwise
  /// A group behind the other, as Int8DotsSimd reads them, taps in the order (kh, kw, C / groups);
  /// depthwise: (kh, kw, O).
  std::vector<int16_t> weights_;
};

/// A primitive of oneDNN for one geometry.
class LibraryInt8Kernel {
 public:
  virtual ~LibraryInt8Kernel() = default;
  /// y holds the residual before, where one is added.
  virtual void run(const void* x, void* y) const = 0;
  virtual const std::string& name() const = 0;

  /// Empty where the library has no fast kernel that is exact on this chip.
  static std::shared_ptr<const LibraryInt8Kernel> make(const int8_t* weight, const Int8Geometry& g,
                                                       const Int8Epilogue& e);

 protected:
  LibraryInt8Kernel() = default;
  LibraryInt8Kernel(const LibraryInt8Kernel&) = default;
  LibraryInt8Kernel& operator=(const LibraryInt8Kernel&) = default;
};

}  // namespace vtrain
