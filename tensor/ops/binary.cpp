#include "tensor/ops/binary.h"

#include <algorithm>

namespace vtrain {

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1,
                  y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1)
      throw ShapeError(str('[', op, "] b ", b, ": does not broadcast with a ", a));
    shape[shape.size() - 1 - i] = x == 1 ? y : x;
  }
  return shape;
}

namespace {
/// Of the result; both are floating and agree, or one is bf16 and one f32.
DType common_dtype(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype()) return a.dtype();
  const Tensor &wide = a.dtype() == DType::f32 ? a : b, &narrow = a.dtype() == DType::f32 ? b : a;
  return wide.ndim() == 0 && narrow.ndim() > 0 ? DType::bf16 : DType::f32;
}

Tensor apply(const char* name, BinaryOp op, const Tensor& a, const Tensor& b) {
  check_real(name, "a", a);
  check_real(name, "b", b);
  if (wide_of(a.dtype()) != wide_of(b.dtype())) check_same_dtype(name, "a", a, "b", b);
  return binary_kernels.on(a.device())
      .apply(op, a, b, broadcast_shape(name, a.shape(), b.shape()), common_dtype(a, b));
}

Tensor scalar(double value, const Tensor& like) {
  return full({}, value, wide_of(like.dtype()), like.device());
}
}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return apply("add", BinaryOp::kAdd, a, b); }
Tensor subtract(const Tensor& a, const Tensor& b) {
  return apply("subtract", BinaryOp::kSubtract, a, b);
}
Tensor multiply(const Tensor& a, const Tensor& b) {
  return apply("multiply", BinaryOp::kMultiply, a, b);
}
Tensor divide(const Tensor& a, const Tensor& b) { return apply("divide", BinaryOp::kDivide, a, b); }
Tensor add(const Tensor& a, double b) { return add(a, scalar(b, a)); }
Tensor multiply(const Tensor& a, double b) { return multiply(a, scalar(b, a)); }

void accumulate(Tensor& y, const Tensor& x) {
  check_real("accumulate", "y", y);
  check_same_shape("accumulate", "y", y, "x", x);
  check_same_dtype("accumulate", "y", y, "x", x);
  binary_kernels.on(y.device()).accumulate(y, x);
  y.bump_version();
}

}  // namespace vtrain
