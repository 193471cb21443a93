#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// Losses that are compositions of ops; cross_entropy of soft targets is autograd/normalize.h's.

/// (N, K): (1 - smoothing) at the label plus smoothing / K everywhere, rows sum to 1. Szegedy et
/// al., "Rethinking the Inception Architecture", CVPR 2016, arXiv:1512.00567, section 7.
///   labels (N) i32 in [0, K)    smoothing in [0, 1)
/// Throws ShapeError.
Tensor smoothed_targets(const Tensor& labels, int64_t num_classes, double smoothing,
                        DType dtype = DType::f32);

/// (N): the cross entropy of logits (N, K) with labels (N) i32, smoothed.
Variable label_cross_entropy(const Variable& logits, const Tensor& labels, double smoothing = 0);

/// (N): KL(p || q) = sum over k of p_k (log p_k - log q_k), p = softmax(teacher / T) and
/// q = softmax(student / T) along classes. Methods scale it by T^2 where they want the size of its
/// gradient kept: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network",
/// arXiv:1503.02531.
///   teacher, student  logits (N, K); no gradient reaches the teacher    temperature T > 0
Variable kl_divergence(const Tensor& teacher, const Variable& student, double temperature = 1);

/// (): the mean of (a - b)^2 over all elements; shapes equal.
Variable mean_squared_error(const Variable& a, const Variable& b);

/// a . b / (|a| |b|) along `dim`, which is dropped; shapes equal. Norms are sqrt(sum of squares +
/// eps^2), so that a vector of zeros has similarity 0 and a finite gradient.
Variable cosine_similarity(const Variable& a, const Variable& b, int dim, double eps = 1e-8);

}  // namespace vtrain
