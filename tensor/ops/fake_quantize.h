#pragma once

#include <cstdint>

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Which integers stand for reals: real = scale * (code - zero_point), low <= code <= high.
struct CodeRange {
  int64_t low = -127, high = 127;
  int64_t zero_point = 0;  // the code of 0, in [low, high]
  friend bool operator==(const CodeRange&, const CodeRange&) = default;
};

/// The dtype that holds the codes: i8 or u8. Throws ShapeError if they fit neither.
DType code_dtype(const CodeRange& range);

/// y = scale * (q - zero_point),  q = clamp(rne(x * (1 / scale)) + zero_point, low, high)
///   x      f32, f64 or bf16, any shape; bf16 computes in f32 and y is rounded to it once more
///   scale  above 0 and normal; f32 (f64 beside an f64 x), of shape (1): for the whole tensor, or
///          (O): one for each slice of axis 0, which has extent O
///   range  any with low < high; low and high at most 2^20 in size
///   y      like x
/// rne rounds to the nearest integer, ties to even. The reciprocal is computed once and multiplied,
/// as oneDNN does. A NaN comes through; what is infinite is clamped. This and `quantize` are the
/// one place where codes come from, in training and in the deployed network. Throws ShapeError.
Tensor fake_quantize(const Tensor& x, const Tensor& scale, const CodeRange& range);

/// dx = dy where scale * (low - zero_point) <= x <= scale * (high - zero_point), else 0: rounding
/// passes the gradient on, clamping does not (the straight-through estimator, Bengio, Leonard,
/// Courville, arXiv:1308.3432). x and dy have one shape and dtype.
Tensor fake_quantize_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                          const Tensor& dy);

/// For a learned scale: Esser, McKinstry, Bablani, Appuswamy, Modha, "Learned Step Size
/// Quantization", ICLR 2020, arXiv:1902.08153. With v = x / scale, zero_point 0:
///   dx = dy where low < v < high, else 0
///   dscale = sum over each scale's elements of dy * (rne(v) - v where low < v < high, low where
///   v <= low, high where v >= high)
/// dscale has scale's shape and dtype. Throws ShapeError for a zero point that is not 0.
struct LearnedScaleGrads {
  Tensor dx, dscale;
};
LearnedScaleGrads learned_scale_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                                     const Tensor& dy);

/// For each scale, the sum of (fake_quantize(x) - x)^2 over its elements, f64 of scale's shape; of
/// bf16, before y is rounded. The order of summation does not depend on threads.
Tensor fake_quantize_error(const Tensor& x, const Tensor& scale, const CodeRange& range);

/// The codes q of fake_quantize, in code_dtype(range), in x's memory order.
/// Throws ShapeError if the codes fit no byte, Error if x has a NaN.
Tensor quantize(const Tensor& x, const Tensor& scale, const CodeRange& range);
/// scale * (q - zero_point) of codes i8 or u8, in f32, in their memory order.
Tensor dequantize(const Tensor& codes, const Tensor& scale, const CodeRange& range);

struct FakeQuantizeKernels {  // on dense tensors of one memory order; scale contiguous
  Tensor (*forward)(const Tensor& x, const Tensor& scale, const CodeRange& range);
  Tensor (*grad)(const Tensor& x, const Tensor& scale, const CodeRange& range, const Tensor& dy);
  /// The terms of dscale, of x's shape in scale's dtype.
  Tensor (*scale_terms)(const Tensor& x, const Tensor& scale, const CodeRange& range,
                        const Tensor& dy);
  Tensor (*learned_grad)(const Tensor& x, const Tensor& scale, const CodeRange& range,
                         const Tensor& dy);
  Tensor (*error)(const Tensor& x, const Tensor& scale, const CodeRange& range);
  /// f32 only; undefined if x has a NaN.
  Tensor (*codes)(const Tensor& x, const Tensor& scale, const CodeRange& range);
  Tensor (*reals)(const Tensor& codes, const Tensor& scale, const CodeRange& range);
};
inline constinit PerDevice<FakeQuantizeKernels> fake_quantize_kernels{"fake_quantize"};

}  // namespace vtrain
