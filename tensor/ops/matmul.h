#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// z = a b, over the last two axes; leading axes are equal, or absent in both.
///   a (..., M, K), b (..., K, N) f32 or f64; transposed views are read in place    z (..., M, N)
/// f32 runs in oneDNN, f64 in a plain loop. Throws ShapeError.
Tensor matmul(const Tensor& a, const Tensor& b);

/// y = x w^T + b.   x (..., in), w (out, in), b (out) or undefined  ->  (..., out)
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);
/// dx = dy w (..., in); dw = dy^T x (out, in); db = column sums of dy (out).
Tensor linear_grad_x(const Tensor& dy, const Tensor& w);
Tensor linear_grad_w(const Tensor& dy, const Tensor& x);
Tensor linear_grad_b(const Tensor& dy);

struct MatmulKernels {
  /// a (B, M, K), b (B, K, N), any strides with one unit stride among the last two axes; bias (N)
  /// or undefined; z contiguous.
  void (*matmul)(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& z);
};
inline constinit PerDevice<MatmulKernels> matmul_kernels{"matmul"};

}  // namespace vtrain
