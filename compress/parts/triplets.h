#pragma once

#include <vector>

#include "autograd/variable.h"
#include "tensor/random.h"

namespace vtrain {

/// Triplets (i, j, k) of different samples of a batch: which of j and k is nearer to i? What one
/// network answers, another can learn, whatever the sizes of their features. You, Xu, Xu, Tao,
/// "Learning from Multiple Teacher Networks", KDD 2017, doi:10.1145/3097983.3098135.
struct Triplet {
  int64_t i = 0, j = 0, k = 0;
};

/// (i, i + 1, i + 2), modulo n, for each i: n of them, none for n below 3.
std::vector<Triplet> ring_triplets(int64_t n);
/// One for each i, with j and k drawn at that position: n of them, none for n below 3.
std::vector<Triplet> random_triplets(int64_t n, const Random& stream, RandomPosition at);
/// n (n - 1) (n - 2) / 2: all, one of (i, j, k) and (i, k, j).
std::vector<Triplet> all_triplets(int64_t n);

/// (T): |u_i - u_k|^2 - |u_i - u_j|^2, above 0 where j is nearer; u the features (N, ...),
/// flattened and of length 1. In f32 for bf16.
Variable nearness(const Variable& features, const std::vector<Triplet>& triplets);

/// 1, -1, or 0 where x is 0.
Tensor sign(const Tensor& x);

/// (T): the sum over networks m of weight_m sign(nearness_m), or of weight_m nearness_m, where a
/// network that is sure counts more. Weights that are whole numbers tie exactly.
///   nearness  (T) of each network    weights  as many
enum class Vote { kSign, kMargin };
Tensor votes_of(const std::vector<Tensor>& nearness, const std::vector<double>& weights, Vote vote);

/// (): the mean over triplets whose vote is not 0 of max(0, delta - sign(vote) nearness): what is
/// nearer by the votes shall be nearer by delta. 0 if there are none.
///   nearness (T) of the student, votes (T) of teachers
Variable ranking_loss(const Variable& nearness, const Tensor& votes, double delta);

}  // namespace vtrain
