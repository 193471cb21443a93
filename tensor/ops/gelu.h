#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y = x * Phi(x), Phi the standard normal distribution: 0.5 * x * (1 + erf(x / sqrt(2))), not its
/// tanh approximation. Hendrycks, Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
///   x  f32, f64 or bf16, any shape    y  like x; bf16 computes in f32
Tensor gelu(const Tensor& x);

/// dx = dy * (Phi(x) + x * phi(x)), phi the density. All three have one shape and dtype.
Tensor gelu_grad(const Tensor& x, const Tensor& dy);

struct GeluKernels {  // on dense tensors of one memory order
  Tensor (*forward)(const Tensor& x);
  Tensor (*grad)(const Tensor& x, const Tensor& dy);
};
inline constinit PerDevice<GeluKernels> gelu_kernels{"gelu"};

}  // namespace vtrain
