#pragma once

#include <cstdint>

#include "tensor/ops/memory_order.h"
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

/// y, and where x was inside: scale * (low - zero_point) <= x <= scale * (high - zero_point). There
/// the gradient passes, since rounding passes it on and clamping does not (the straight-through
/// estimator, Bengio, Leonard, Courville, arXiv:1308.3432).
struct InsideMask {
  Tensor bits;        // u8 (slices, bytes): a bit of each element, in its memory order
  MemoryOrder order;  // of x
};
struct MaskedFakeQuantize {
  Tensor y;
  InsideMask inside;
};
MaskedFakeQuantize fake_quantize_with_mask(const Tensor& x, const Tensor& scale,
                                           const CodeRange& range);

/// dx = dy inside, else 0; x and dy have one shape and dtype.
Tensor fake_quantize_grad(const InsideMask& inside, const Tensor& dy);
/// The same for the one who alone holds dy: in its memory, if that has the order of x. What passes
/// is not even read then.
Tensor fake_quantize_grad_in_place(const InsideMask& inside, const Tensor& dy);

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
/// The same for the one who alone holds dy: dx lies in its memory, if that has the order of x.
LearnedScaleGrads learned_scale_grad_in_place(const Tensor& x, const Tensor& scale,
                                              const CodeRange& range, const Tensor& dy);

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
  /// `inside` is u8 (slices, bytes), bytes the least multiple of 8 that has a bit for each element.
  Tensor (*forward_inside)(const Tensor& x, const Tensor& scale, const CodeRange& range,
                           Tensor& inside);
  void (*clip)(const Tensor& inside, Tensor& dy);
  /// Writes dx, which may be dy, and gives dscale.
  Tensor (*learned_grad)(const Tensor& x, const Tensor& scale, const CodeRange& range,
                         const Tensor& dy, Tensor& dx);
  Tensor (*error)(const Tensor& x, const Tensor& scale, const CodeRange& range);
  /// f32 only; undefined if x has a NaN.
  Tensor (*codes)(const Tensor& x, const Tensor& scale, const CodeRange& range);
  Tensor (*reals)(const Tensor& codes, const Tensor& scale, const CodeRange& range);
};
inline constinit PerDevice<FakeQuantizeKernels> fake_quantize_kernels{"fake_quantize"};

}  // namespace vtrain
