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
Tensor apply(const char* name, BinaryOp op, const Tensor& a, const Tensor& b) {
  check_floating(name, "a", a);
  check_same_dtype(name, "a", a, "b", b);
  return binary_kernels.on(a.device()).apply(op, a, b, broadcast_shape(name, a.shape(), b.shape()));
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
Tensor add(const Tensor& a, double b) { return add(a, full({}, b, a.dtype(), a.device())); }
Tensor multiply(const Tensor& a, double b) {
  return multiply(a, full({}, b, a.dtype(), a.device()));
}

void accumulate(Tensor& y, const Tensor& x) {
  check_floating("accumulate", "y", y);
  check_same_shape("accumulate", "y", y, "x", x);
  check_same_dtype("accumulate", "y", y, "x", x);
  binary_kernels.on(y.device()).accumulate(y, x);
  y.bump_version();
}

}  // namespace vtrain
