#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y as x; rrms (rows), rows = x.numel() / C, in f32 beside bf16: what the gradient needs.
struct RmsNormOutput {
  Tensor y, rrms;
};
struct RmsNormGrads {
  Tensor dx, dweight;
};

/// y = x * rrms * weight with rrms = 1 / sqrt(mean(x^2) + eps) of every row: layer normalisation
/// without its mean. Zhang, Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019,
/// arXiv:1910.07467.
///   x  f32, f64 or bf16 (..., C)    weight  (C), f32 beside bf16, or undefined for 1
/// Throws ShapeError.
RmsNormOutput rms_norm(const Tensor& x, const Tensor& weight, double eps);

/// With n = x * rrms and g = dy * weight:
///   dx = rrms * (g - n * mean(g * n))    dweight = sum over rows of dy * n, like weight
/// dweight (C) is computed for an undefined weight too; its order of summation does not depend on
/// threads.
RmsNormGrads rms_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& rrms,
                           const Tensor& dy);

struct RmsNormKernels {  // on contiguous tensors
  RmsNormOutput (*forward)(const Tensor& x, const Tensor& weight, double eps);
  RmsNormGrads (*grad)(const Tensor& x, const Tensor& weight, const Tensor& rrms, const Tensor& dy);
};
inline constinit PerDevice<RmsNormKernels> rms_norm_kernels{"rms_norm"};

}  // namespace vtrain
