#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

struct LocalResponseNormOptions {
  int64_t size = 5;  // n, channels
  double alpha = 1e-4, beta = 0.75, k = 1;
};

/// y_c = x_c / d_c^beta, d_c = k + alpha / n * sum of x_c'^2 over the n channels c' around c: from
/// c - n / 2 to c + (n - 1) / 2, those that exist. Krizhevsky, Sutskever, Hinton, "ImageNet
/// Classification with Deep Convolutional Neural Networks", NIPS 2012, section 3.3, with alpha
/// divided by n as Caffe and PyTorch do.
///   x  f32, f64 or bf16 (N, C, H, W)    y  like x, channels last
/// Throws ShapeError, also for an empty batch, n < 1 or k <= 0.
Tensor local_response_norm(const Tensor& x, const LocalResponseNormOptions& options);

/// dx_c = dy_c * d_c^-beta - 2 alpha / n * beta * x_c * sum of dy_c' x_c' d_c'^(-beta - 1) over the
/// channels c' that have c around them.
Tensor local_response_norm_grad(const Tensor& x, const Tensor& dy,
                                const LocalResponseNormOptions& options);

struct LocalResponseNormKernels {  // on channels-last tensors
  void (*forward)(const Tensor& x, const LocalResponseNormOptions& options, Tensor& y);
  void (*grad)(const Tensor& x, const Tensor& dy, const LocalResponseNormOptions& options,
               Tensor& dx);
};
inline constinit PerDevice<LocalResponseNormKernels> local_response_norm_kernels{
    "local_response_norm"};

}  // namespace vtrain
