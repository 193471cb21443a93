#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// How the samples of a batch lie to each other: what can be compared between two networks whose
/// features have different sizes. Features (N, ...) count as N rows (N, d), in their own dtype, in
/// f32 for bf16. Pass a teacher's as a constant.

/// (N, d), d = 1 where features are (N).
Variable feature_rows(const Variable& features);
/// Rows divided by their length. A row of zeros stays one, and no gradient reaches it.
Variable unit_rows(const Variable& rows);
/// (N, N): |row_i - row_j|^2, at least 0, on the diagonal exactly.   rows (N, d)
/// From scalar products: absolute errors are those of |row|^2, about 1e-7 of it in f32.
Variable squared_distances(const Variable& rows);

/// Weight of an edge before normalisation. Cosines of features below 0 can be, and rows of the
/// graph could then add up to nothing: take their absolute values.
enum class GraphEdges { kCosine, kAbsoluteCosine };

/// (N, N): the graph of a batch, A~ = D^(-1/2) A D^(-1/2) with A the edges, 0 on the diagonal, and
/// D = max(sums of A's rows, 1e-6). Lassance et al., ICASSP 2020, arXiv:1911.03080. Its largest
/// eigenvalue is 1.
Variable batch_graph(const Variable& features, GraphEdges edges);

/// (): sum of (A_p - B_p)^2 over all entries, A_p and B_p the p-th matrix powers of a and b.
///   a, b (N, N), p at least 1; mask (N, N) multiplies both before, undefined: none
Variable graph_distance(const Variable& a, const Variable& b, int64_t power, const Tensor& mask);

/// (N, N) of 0 and 1: where either sample is among the other's k nearest by the graph, which is
/// everywhere for k >= N.
Tensor nearest_pairs(const Tensor& graph, int64_t k);
/// (N, N) of 0 and 1: where both samples have one label.   labels (N) i32 in [0, classes)
Tensor pairs_of_one_class(const Tensor& labels, int64_t classes);

/// Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068. Both are
/// computed in f64 and given in f32 (f64 for f64): differences of near features would not survive
/// f32.
/// (N, N): distances of samples, divided by the mean of those above 0.
Variable relative_distances(const Variable& features);
/// (N, N, N): at [j, i, k] the cosine of the angle at j between i and k, 0 where j coincides with
/// one of them. Memory N^3.
Variable angles(const Variable& features);

/// x^2 / 2 where |x| < 1, else |x| - 1/2.
Variable huber(const Variable& x);

}  // namespace vtrain
