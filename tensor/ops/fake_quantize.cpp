#include "tensor/ops/fake_quantize.h"

#include <utility>

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

constexpr int64_t kMaskWord = 64;  // bits; a slice begins with a new one: threads share no byte
int64_t mask_bytes(int64_t elements) { return (elements + kMaskWord - 1) / kMaskWord * 8; }

void check_mask(const InsideMask& inside, const Tensor& dy) {
  const int64_t slices = inside.bits.dim(0);
  if (dy.numel() % slices == 0 && mask_bytes(dy.numel() / slices) == inside.bits.dim(1)) return;
  throw ShapeError(str("[fake_quantize_grad] dy ", dy.shape(),
                       ": expected the shape of x, of which the mask has ", slices, " x ",
                       inside.bits.dim(1), " bytes"));
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

MaskedFakeQuantize fake_quantize_with_mask(const Tensor& x, const Tensor& scale,
                                           const CodeRange& range) {
  check("fake_quantize", x, scale, range);
  const Tensor own = sliced(x);
  const int64_t slices = scale.numel();
  Tensor inside = Tensor::empty({slices, mask_bytes(x.numel() / slices)}, DType::u8, x.device());
  Tensor y = fake_quantize_kernels.on(x.device()).forward_inside(own, scale, range, inside);
  return {.y = std::move(y), .inside = {.bits = std::move(inside), .order = MemoryOrder(own)}};
}

Tensor fake_quantize_grad(const InsideMask& inside, const Tensor& dy) {
  check_mask(inside, dy);
  Tensor dx = inside.order.copy(dy);
  fake_quantize_kernels.on(dx.device()).clip(inside.bits, dx);
  return dx;
}

Tensor fake_quantize_grad_in_place(const InsideMask& inside, const Tensor& dy) {
  if (!inside.order.is_of(dy)) return fake_quantize_grad(inside, dy);
  check_mask(inside, dy);
  Tensor dx = dy;
  fake_quantize_kernels.on(dx.device()).clip(inside.bits, dx);
  return dx;
}

namespace {
LearnedScaleGrads learned_grads(const Tensor& x, const Tensor& scale, const CodeRange& range,
                                const Tensor& dy, bool is_in_place) {
  check("learned_scale_grad", x, scale, range);
  check_gradient("learned_scale_grad", x, dy);
  if (range.zero_point != 0)
    throw ShapeError(str("[learned_scale_grad] zero point: expected 0 for a learned scale, got ",
                         range.zero_point));
  const Tensor own = sliced(x), slope = in_order_of(own, dy);
  Tensor dx = is_in_place ? slope : empty_like(own);
  Tensor dscale = fake_quantize_kernels.on(x.device()).learned_grad(own, scale, range, slope, dx);
  return {.dx = std::move(dx), .dscale = std::move(dscale)};
}
}  // namespace

LearnedScaleGrads learned_scale_grad(const Tensor& x, const Tensor& scale, const CodeRange& range,
                                     const Tensor& dy) {
  return learned_grads(x, scale, range, dy, /*is_in_place=*/false);
}

LearnedScaleGrads learned_scale_grad_in_place(const Tensor& x, const Tensor& scale,
                                              const CodeRange& range, const Tensor& dy) {
  return learned_grads(x, scale, range, dy, /*is_in_place=*/true);
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
