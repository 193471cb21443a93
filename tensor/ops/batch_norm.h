#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

enum class BatchNormActivation { kNone, kRelu, kRelu6 };
/// Of the batch at hand, which training uses, or those kept in running_mean and running_var.
enum class BatchNormStatistics { kBatch, kRunning };

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // share of the batch in an updated running statistic
  BatchNormStatistics statistics = BatchNormStatistics::kBatch;
  BatchNormActivation activation = BatchNormActivation::kNone;
};

/// y as x; mean and rstd (C), what the gradient needs.
struct BatchNormOutput {
  Tensor y, mean, rstd;
};
struct BatchNormGrads {
  Tensor dx, dweight, dbias, dresidual;  // the last undefined where there was no residual
};

/// Per channel, over samples and positions:
///   y = act((x - mean) * rstd * weight + bias [+ residual])        rstd = 1 / sqrt(variance + eps)
/// with the biased variance of the batch, or with running_mean and running_var. Ioffe, Szegedy,
/// "Batch Normalization", arXiv:1502.03167.
///   x             f32, f64 or bf16 (N, C, H, W) or (N, C)    residual  like x, or undefined
///   weight, bias  (C), f32 beside bf16, or undefined for 1 and 0
///   running_mean, running_var  (C) like weight. With kBatch they are edited in place as
///                 (1 - momentum) * running + momentum * batch, the variance unbiased, or may be
///                 undefined.
/// y is channels last. Throws ShapeError, also for a batch of fewer than two elements per channel.
BatchNormOutput batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& residual, Tensor running_mean, Tensor running_var,
                           const BatchNormOptions& options);

/// The y of a batch_norm once more, bit for bit, from what it returned beside it.
Tensor batch_norm_again(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Tensor& residual, const Tensor& mean, const Tensor& rstd,
                        BatchNormActivation activation);

/// With g = dy where the activation passes (relu: y > 0, relu6: 0 < y < 6), else 0, with xhat =
/// (x - mean) * rstd and R elements per channel:
///   dbias = sum(g)    dweight = sum(g * xhat)    dresidual = g
///   dx = weight * rstd * (g - dbias / R - xhat * dweight / R) of the batch's statistics,
///        weight * rstd * g of running ones
/// `bias` serves the mask alone. saved.y may be undefined where it is not read.
BatchNormGrads batch_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& bias,
                               const BatchNormOutput& saved, bool has_residual, const Tensor& dy,
                               const BatchNormOptions& options);

/// Whether the gradient takes the activation's mask from the saved y: without a residual it is
/// worked out from x, which is read anyway.
inline bool batch_norm_grad_reads_y(BatchNormActivation activation, bool has_residual) {
  return activation != BatchNormActivation::kNone && has_residual;
}

struct BatchNormKernels {  // x, residual, y, dy channels last or (N, C); vectors contiguous
  BatchNormOutput (*forward)(const Tensor& x, const Tensor& weight, const Tensor& bias,
                             const Tensor& residual, Tensor& running_mean, Tensor& running_var,
                             const BatchNormOptions& options);
  Tensor (*again)(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual,
                  const Tensor& mean, const Tensor& rstd, BatchNormActivation activation);
  BatchNormGrads (*grad)(const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const BatchNormOutput& saved, bool has_residual, const Tensor& dy,
                         const BatchNormOptions& options);
};
inline constinit PerDevice<BatchNormKernels> batch_norm_kernels{"batch_norm"};

}  // namespace vtrain
