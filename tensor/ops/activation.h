#pragma once

#include "tensor/ops/activation_kind.h"
#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y = f(x), element by element; what f is, tensor/ops/activation_kind.h says.
///   x  f32, f64 or bf16, any shape    slope  of leaky_relu, not read by others    y  like x
/// Infinity gives the limit, NaN comes through.
Tensor activation(ActivationKind kind, const Tensor& x, double slope = 0);
/// dx = dy * f'(x). All three have one shape and dtype.
Tensor activation_grad(ActivationKind kind, const Tensor& x, const Tensor& dy, double slope = 0);

struct ActivationKernels {  // on dense tensors of one memory order
  Tensor (*forward)(ActivationKind kind, const Tensor& x, double slope);
  Tensor (*grad)(ActivationKind kind, const Tensor& x, const Tensor& dy, double slope);
};
inline constinit PerDevice<ActivationKernels> activation_kernels{"activation"};

}  // namespace vtrain
