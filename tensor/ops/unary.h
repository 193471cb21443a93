#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y = f(x), element by element; x f32, f64 or bf16 of any shape, y like x. bf16 computes in f32
/// and is rounded once.
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor square(const Tensor& x);
Tensor sigmoid(const Tensor& x);  // 1 / (1 + exp(-x)), exact in both tails
Tensor relu(const Tensor& x);
Tensor negate(const Tensor& x);
/// 1 where x >= bound, else 0: a decision.
Tensor at_least(const Tensor& x, double bound);

Tensor clamp(const Tensor& x, double low, double high);
/// dy where low < x < high, else 0: the gradient of a clamp. One shape and dtype.
Tensor where_inside(const Tensor& x, double low, double high, const Tensor& dy);

enum class UnaryOp { kExp, kLog, kSqrt, kSquare, kSigmoid, kRelu, kNegate };
struct UnaryKernels {
  Tensor (*apply)(UnaryOp op, const Tensor& x);
  Tensor (*at_least)(const Tensor& x, double bound);
  Tensor (*clamp)(const Tensor& x, double low, double high);
  /// x and dy dense, in one memory order.
  Tensor (*where_inside)(const Tensor& x, double low, double high, const Tensor& dy);
};
inline constinit PerDevice<UnaryKernels> unary_kernels{"unary"};

}  // namespace vtrain
