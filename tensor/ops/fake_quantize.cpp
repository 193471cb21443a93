#include "tensor/ops/fake_quantize.h"

#include "tensor/ops/memory_order.h"
#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

/// Codes up to here, and sums with a zero point, are exact in f32.
constexpr int64_t kLargestCode = int64_t{1} << 20;

void check_range(const char* op, const CodeRange& r) {
  if (r.low < r.high && -kLargestCode <= r.low && r.high <= kLargestCode && r.low <= r.zero_point &&
      r.zero_point <= r.high)
    return;
  throw ShapeError(str('[', op, "] range: expected low < high, both within 2^20, and a zero point ",
                       "in between, got ", r.low, "..", r.high, " with zero point ", r.zero_point));
}

void check_scale(const char* op, const Tensor& x, const Tensor& scale, DType dtype) {
  if (scale.dtype() != dtype || scale.ndim() != 1 || !scale.is_contiguous() ||
      (scale.dim(0) != 1 && (x.ndim() == 0 || scale.dim(0) != x.dim(0)))) {
    throw ShapeError(str('[', op, "] scale ", scale.text(), ": expected ", name_of(dtype),
                         " of shape (1), or one for each slice of axis 0 of x ", x.shape()));
  }
  if (scale.device() != x.device())
    throw ShapeError(
        str('[', op, "] scale ", scale.text(), ": expected it on the device of x ", x.text()));
}

void check(const char* op, const Tensor& x, const Tensor& scale, const CodeRange& range) {
  check_real(op, "x", x);
  check_scale(op, x, scale, wide_of(x.dtype()));
  check_range(op, range);
}

void check_gradient(const char* op, const Tensor& x, const Tensor& dy) {
  check_same_shape(op, "x", x, "dy", dy);
  check_same_dtype(op, "x", x, "dy", dy);
}

/// The slices of axis 0 must lie one behind the other: both memory orders have that.
Tensor sliced(const Tensor& x) { return dense(x); }

}  // namespace

DType code_dtype(const CodeRange& r) {
  check_range("quantize", r);
  if (r.low >= 0 && r.high <= 255) return DType::u8;
  if (r.low >= -128 && r.high <= 127) return DType::i8;
  throw ShapeError(
      str("[quantize] range: expected codes in -128..127 or 0..255, got ", r.low, "..", r.high));
}

Tensor fake_quantize(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  check("fake_quantize", x, scale, range);
  return fake_quantize_kernels.on(x.device()).forward(sliced(x), scale, range);
}

Tensor fake_quantize_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                          const Tensor& dy) {
  check("fake_quantize_grad", x, scale, range);
  check_gradient("fake_quantize_grad", x, dy);
  const Tensor own = sliced(x);
  return fake_quantize_kernels.on(x.device()).grad(own, scale, range, in_order_of(own, dy));
}

LearnedScaleGrads learned_scale_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                                     const Tensor& dy) {
  check("learned_scale_grad", x, scale, range);
  check_gradient("learned_scale_grad", x, dy);
  if (range.zero_point != 0)
    throw ShapeError(str("[learned_scale_grad] zero point: expected 0 for a learned scale, got ",
                         range.zero_point));
  const Tensor own = sliced(x), slope = in_order_of(own, dy);
  const FakeQuantizeKernels& kernels = fake_quantize_kernels.on(x.device());
  // Memory order does not matter inside a slice, only that its elements lie together.
  const Tensor terms = kernels.scale_terms(own, scale, range, slope);
  const int64_t slices = scale.dim(0);
  const Tensor rows = terms.view({slices, terms.numel() / slices},
                                 contiguous_strides({slices, terms.numel() / slices}), 0);
  return {kernels.learned_grad(own, scale, range, slope), sum(rows, {1})};
}

Tensor fake_quantize_error(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  check("fake_quantize_error", x, scale, range);
  return fake_quantize_kernels.on(x.device()).error(sliced(x), scale, range);
}

Tensor quantize(const Tensor& x, const Tensor& scale, const CodeRange& range) {
  check("quantize", x, scale, range);
  code_dtype(range);
  if (x.dtype() != DType::f32) throw ShapeError(str("[quantize] x: expected f32, got ", x.text()));
  Tensor codes = fake_quantize_kernels.on(x.device()).codes(sliced(x), scale, range);
  if (!codes.defined())
    throw Error(str("[quantize] x ", x.shape(), ": has a value that is not a number; no code can ",
                    "stand for it"));
  return codes;
}

Tensor dequantize(const Tensor& codes, const Tensor& scale, const CodeRange& range) {
  check_range("dequantize", range);
  if (codes.dtype() != DType::i8 && codes.dtype() != DType::u8)
    throw ShapeError(str("[dequantize] codes: expected i8 or u8, got ", codes.text()));
  check_scale("dequantize", codes, scale, DType::f32);
  return fake_quantize_kernels.on(codes.device()).reals(sliced(codes), scale, range);
}

}  // namespace vtrain
