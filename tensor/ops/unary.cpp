#include "tensor/ops/unary.h"

#include "tensor/ops/memory_order.h"

namespace vtrain {
namespace {
Tensor apply(const char* name, UnaryOp op, const Tensor& x) {
  check_real(name, "x", x);
  return unary_kernels.on(x.device()).apply(op, x.is_dense() ? x : x.contiguous());
}
}  // namespace

Tensor exp(const Tensor& x) { return apply("exp", UnaryOp::kExp, x); }
Tensor log(const Tensor& x) { return apply("log", UnaryOp::kLog, x); }
Tensor sqrt(const Tensor& x) { return apply("sqrt", UnaryOp::kSqrt, x); }
Tensor square(const Tensor& x) { return apply("square", UnaryOp::kSquare, x); }
Tensor sigmoid(const Tensor& x) { return apply("sigmoid", UnaryOp::kSigmoid, x); }
Tensor relu(const Tensor& x) { return apply("relu", UnaryOp::kRelu, x); }
Tensor negate(const Tensor& x) { return apply("negate", UnaryOp::kNegate, x); }

Tensor at_least(const Tensor& x, double bound) {
  check_real("at_least", "x", x);
  return unary_kernels.on(x.device()).at_least(x.is_dense() ? x : x.contiguous(), bound);
}

Tensor clamp(const Tensor& x, double low, double high) {
  check_real("clamp", "x", x);
  return unary_kernels.on(x.device()).clamp(dense(x), low, high);
}

Tensor where_inside(const Tensor& x, double low, double high, const Tensor& dy) {
  check_real("where_inside", "x", x);
  check_same_shape("where_inside", "x", x, "dy", dy);
  check_same_dtype("where_inside", "x", x, "dy", dy);
  const Tensor dense_x = dense(x);
  return unary_kernels.on(x.device()).where_inside(dense_x, low, high, in_order_of(dense_x, dy));
}

}  // namespace vtrain
