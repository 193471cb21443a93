#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y as x; mean and rstd (rows), rows = x.numel() / C, what the gradient needs: f32 beside bf16.
struct LayerNormOutput {
  Tensor y, mean, rstd;
};
struct LayerNormGrads {
  Tensor dx, dweight, dbias;
};

/// y = (x - mean) * rstd * weight + bias with mean and rstd = 1 / sqrt(variance + eps) of every
/// row; the variance is the biased one, of the centred row. Ba, Kiros, Hinton, "Layer
/// Normalization", arXiv:1607.06450.
///   x  f32, f64 or bf16 (..., C)    weight, bias  (C) like x, f32 beside bf16, or undefined for
///   1 and 0
/// Throws ShapeError.
LayerNormOutput layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

/// With xhat = (x - mean) * rstd and g = dy * weight:
///   dx = rstd * (g - mean(g) - xhat * mean(g * xhat))    dweight = sum over rows of dy * xhat
///   dbias = sum over rows of dy
/// dweight and dbias (C) are computed for an undefined weight too; they are f32 beside bf16.
LayerNormGrads layer_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& mean,
                               const Tensor& rstd, const Tensor& dy);

struct LayerNormKernels {  // on contiguous tensors
  LayerNormOutput (*forward)(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);
  LayerNormGrads (*grad)(const Tensor& x, const Tensor& weight, const Tensor& mean,
                         const Tensor& rstd, const Tensor& dy);
};
inline constinit PerDevice<LayerNormKernels> layer_norm_kernels{"layer_norm"};

}  // namespace vtrain
