#pragma once

#include "autograd/variable.h"
#include "tensor/ops/batch_norm.h"

namespace vtrain {

/// Batch normalisation, with an optional residual and activation behind it in the same passes over
/// memory. Ioffe, Szegedy, arXiv:1502.03167.
///   x, residual (N, C, H, W) or (N, C); weight, bias (C)
///   -> act((x - mean) / sqrt(variance + eps) * weight + bias [+ residual])
/// weight, bias and residual may be undefined. Running statistics are edited in place where the
/// options say kBatch (tensor/ops/batch_norm.h).
Variable batch_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const Variable& residual, const Tensor& running_mean, const Tensor& running_var,
                    const BatchNormOptions& options);

}  // namespace vtrain
