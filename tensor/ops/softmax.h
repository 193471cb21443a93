#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y = softmax(x) along `dim`, after subtracting each slice's maximum.
///   x  f32, f64 or bf16, any shape    dim  in [-x.ndim(), x.ndim())
///   y  like x, contiguous; every slice along `dim` sums to 1, in bf16 up to the rounding of its
///   elements
/// Throws ShapeError if `dim` is out of range.
Tensor softmax(const Tensor& x, int dim);

/// log(softmax(x)) along `dim`: x - max - log(sum(exp(x - max))).
Tensor log_softmax(const Tensor& x, int dim);

/// dx = y * (dy - sum(y * dy, dim)), from the saved output y. All three have one shape.
Tensor softmax_grad(const Tensor& y, const Tensor& dy, int dim);

/// dx = dy - exp(y) * sum(dy, dim), from the saved output y of log_softmax.
Tensor log_softmax_grad(const Tensor& y, const Tensor& dy, int dim);

struct SoftmaxKernels {  // on contiguous tensors, dim in [0, ndim)
  Tensor (*forward)(const Tensor& x, int dim);
  Tensor (*grad)(const Tensor& y, const Tensor& dy, int dim);
  Tensor (*log_forward)(const Tensor& x, int dim);
  Tensor (*log_grad)(const Tensor& y, const Tensor& dy, int dim);
};
inline constinit PerDevice<SoftmaxKernels> softmax_kernels{"softmax"};

}  // namespace vtrain
