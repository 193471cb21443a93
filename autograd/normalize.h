#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// Layer normalisation over the last axis. Ba, Kiros, Hinton, arXiv:1607.06450.
///   x (..., C), weight (C), bias (C), both f32 beside bf16  ->  (x - mean) / sqrt(variance + eps)
///   * weight + bias, biased variance
Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps);

/// 0.5 x (1 + erf(x / sqrt 2)). Hendrycks, Gimpel, arXiv:1606.08415; the exact form.
Variable gelu(const Variable& x);

Variable softmax(const Variable& x, int dim);
Variable log_softmax(const Variable& x, int dim);

/// (N): -sum_k targets_nk log softmax(logits)_nk. Targets (N, K) may be soft and carry no gradient;
/// they and the loss are f32 beside bf16 logits.
Variable cross_entropy(const Variable& logits, const Tensor& targets);

}  // namespace vtrain
