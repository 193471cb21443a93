#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// z = a b, over the last two axes; leading axes are equal, or absent in both.
///   a (..., M, K), b (..., K, N) f32, f64 or bf16; transposed views are read in place
///   z (..., M, N)
/// f32 and bf16 run in oneDNN, f64 in a plain loop. Throws ShapeError.
Tensor matmul(const Tensor& a, const Tensor& b);

/// y = x w^T + b.   x (..., in), w (out, in), b (out) or undefined  ->  (..., out)
/// b is f32 where x and w are bf16.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);
/// dx = dy w (..., in); dw = dy^T x (out, in); db = column sums of dy (out). dw and db are f32
/// where dy is bf16: they are long sums, and an optimizer's.
Tensor linear_grad_x(const Tensor& dy, const Tensor& w);
Tensor linear_grad_w(const Tensor& dy, const Tensor& x);
Tensor linear_grad_b(const Tensor& dy);

struct MatmulKernels {
  /// a (B, M, K), b (B, K, N), any strides with one unit stride among the last two axes; bias (N),
  /// f32 if a is bf16, or undefined; z contiguous, in a's dtype or f32.
  void (*matmul)(const Tensor& a, const Tensor& b, const Tensor& bias, Tensor& z);
};
inline constinit PerDevice<MatmulKernels> matmul_kernels{"matmul"};

}  // namespace vtrain
