#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// loss (N), probabilities (N, K): dtype as the logits, f32 beside bf16.
struct CrossEntropy {
  Tensor loss, probabilities;
};

/// loss_n = -sum over k of targets_nk * log p_nk, p = softmax(logits) along classes. A target of 0
/// adds nothing, whatever its logit.
///   logits  (N, K) f32, f64 or bf16    targets  (N, K) like logits, f32 beside bf16
/// Sums are taken in double.
CrossEntropy cross_entropy(const Tensor& logits, const Tensor& targets);

/// dlogits_nk = dloss_n * (s_n * p_nk - targets_nk), s_n the sum of the targets of sample n.
///   probabilities, targets  (N, K) f32 or f64    dloss  (N)
Tensor cross_entropy_grad(const Tensor& probabilities, const Tensor& targets, const Tensor& dloss);

struct CrossEntropyKernels {  // on contiguous tensors
  CrossEntropy (*forward)(const Tensor& logits, const Tensor& targets);
  Tensor (*grad)(const Tensor& probabilities, const Tensor& targets, const Tensor& dloss);
};
inline constinit PerDevice<CrossEntropyKernels> cross_entropy_kernels{"cross_entropy"};

}  // namespace vtrain
