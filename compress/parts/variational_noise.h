#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// Weights that are normal, N(theta, sigma^2), as variational methods train them. Molchanov,
/// Ashukha, Vetrov, "Variational Dropout Sparsifies Deep Neural Networks", ICML 2017,
/// arXiv:1701.05369. Compute in f32 or f64.

/// How noisy a weight is: log alpha = log_sigma2 - log(theta^2 + 1e-8), all of one shape. The floor
/// keeps it finite at theta = 0.
Variable log_alpha(const Variable& theta, const Variable& log_sigma2);

/// KL(q(w) || p(w)) of a log-uniform prior p, summed over weights, by the paper's approximation
/// (eq. 14):
///   KL = k1 - k1 S(k2 + k3 a) + log(1 + exp(-a)) / 2,   a = clip(log alpha, -clip, clip)
///   S the logistic function, k = 0.63576, 1.87320, 1.48695
/// It is 0 for pure noise and falls as alpha grows. Outside the clip its gradient is 0.
Variable variational_kl(const Variable& log_alpha, double clip);

/// y = mean + sqrt(variance + floor) noise, what a layer computes whose weights are drawn anew for
/// every value (local reparameterisation). All of one shape and dtype; the noise is a constant.
/// Where variance + floor is 0 the gradient that reaches the variance is finite.
Variable with_noise(const Variable& mean, const Variable& variance, const Tensor& noise,
                    double floor);

}  // namespace vtrain
