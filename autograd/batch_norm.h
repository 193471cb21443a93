#pragma once

#include "autograd/variable.h"
#include "tensor/ops/batch_norm.h"

namespace vtrain {

/// Batch normalisation, with an optional residual and activation behind it in the same passes over
/// memory. Ioffe, Szegedy, arXiv:1502.03167.
///   x, residual (N, C, H, W) or (N, C); weight, bias (C)
///   -> act((x - mean) / sqrt(variance + eps) * weight + bias [+ residual])
/// weight, bias and residual may be undefined, and the running statistics too where the batch's are
/// used; defined ones are edited in place where the options say kBatch (tensor/ops/batch_norm.h).
/// They are inputs of the recorded op, after the residual, and get no gradient.
Variable batch_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const Variable& residual, const Variable& running_mean,
                    const Variable& running_var, const BatchNormOptions& options);

}  // namespace vtrain
