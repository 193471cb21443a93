#pragma once

#include <span>

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

// In-place updates of many tensors in one parallel region. Tensors of one entry have one shape,
// dtype (f32 or f64) and device; what is changed must be dense and of the parameter's memory order
// (a gradient may have another, it is then copied), and its version is raised. Each throws
// ShapeError before it changes anything.

struct AdamwOptions {
  double lr, beta1, beta2, eps;
  int64_t step;           // 1 at the first update
  double grad_scale = 1;  // multiplies every gradient: 1 / loss scale, or the clipping factor
};
struct AdamwTensors {
  Tensor parameter, grad, exp_avg, exp_avg_sq;
  double lr_scale = 1;
  double weight_decay = 0;
};

/// Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101, in
/// PyTorch's order. With eta = lr * lr_scale and g = grad_scale * grad:
///   p *= 1 - eta * weight_decay      m += (1 - beta1) (g - m)      v = beta2 v + (1 - beta2) g^2
///   p -= eta / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
/// m = exp_avg and v = exp_avg_sq start as zeros.
void adamw_update(std::span<AdamwTensors> tensors, const AdamwOptions& options);

struct SgdOptions {
  double lr, momentum = 0;
  bool nesterov = false;
  double grad_scale = 1;
};
struct SgdTensors {
  Tensor parameter, grad, momentum_buffer;  // the buffer may be undefined if momentum is 0
  double lr_scale = 1;
  double weight_decay = 0;
};

/// PyTorch's SGD. With g = grad_scale * grad:
///   d = g + weight_decay * p      b = momentum * b + d      p -= lr * lr_scale * (nesterov ? d +
///   momentum * b : b)
/// The buffer b starts as zeros, which makes b = d at the first step.
void sgd_update(std::span<SgdTensors> tensors, const SgdOptions& options);

/// a = decay * a + (1 - decay) * v for each pair.
void ema_update(std::span<const Tensor> values, std::span<Tensor> averages, double decay);

/// Sum of the squares of all elements, in double over chunks in a fixed order: it does not depend
/// on the number of threads.
double sum_of_squares(std::span<const Tensor> tensors);

struct OptimizeKernels {  // on checked entries
  void (*adamw)(std::span<AdamwTensors> tensors, const AdamwOptions& options);
  void (*sgd)(std::span<SgdTensors> tensors, const SgdOptions& options);
  void (*ema)(std::span<const Tensor> values, std::span<Tensor> averages, double decay);
  double (*sum_of_squares)(std::span<const Tensor> tensors);
};
inline constinit PerDevice<OptimizeKernels> optimize_kernels{"optimize"};

}  // namespace vtrain
