#include "tensor/ops/unary.h"

namespace vtrain {
namespace {
Tensor apply(const char* name, UnaryOp op, const Tensor& x) {
  check_floating(name, "x", x);
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
  check_floating("at_least", "x", x);
  return unary_kernels.on(x.device()).at_least(x.is_dense() ? x : x.contiguous(), bound);
}

}  // namespace vtrain
