#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Merging tokens in pairs: Bolya, Fu, Dai, Zhang, Feichtenhofer, Hoffman, "Token Merging: Your ViT
/// But Faster", ICLR 2023, arXiv:2210.09461.

/// What makes tokens alike: the mean over `heads` stretches of `width` columns of x, the first at
/// column `begin`. Keys in packed queries, keys and values: {heads * qk_dim, heads, qk_dim}.
struct MatchOptions {
  int64_t begin = 0, heads = 1, width = 0;
  int64_t num_special = 0;  // tokens in front that stay as they are
  int64_t r = 0;            // tokens that merge into others
};

/// Bipartite soft matching. Tokens 0, 2, 4, .. are A, tokens 1, 3, 5, .. are B. Each token of A
/// looks for the most alike in B, by the cosine of their columns (of equal ones the lowest; a row
/// of zeros is like nothing, 0). The r of A with the highest cosine merge into what they found (of
/// equal ones the lowest).
///   x  f32, f64 or bf16 (N, L, W)  ->  (N, L) i32: the new position of every token among L - r:
///   special tokens, then what is left of A, then B, each in order. Merged ones have one position.
/// So A and B are mixed anew, and the next matching can pair others. A column that is not a number
/// is like nothing. Throws ShapeError unless 0 <= 2 r <= L - num_special and the columns exist.
Tensor match_tokens(const Tensor& x, const MatchOptions& options);

/// y[n, j] = sum s[n, a] x[n, a] / sum s[n, a], over the tokens a with to[n, a] = j, in ascending
/// order of a; a token alone is copied.
///   x      f32, f64 or bf16 (N, L, C)
///   sizes  f32 (N, L), how many patches a token stands for; undefined = 1 each
///   to     i32 (N, L) in [0, rows), every row named at least once
///   y      (N, rows, C) like x, summed in f32 for bf16
/// Throws ShapeError.
Tensor merge_rows(const Tensor& x, const Tensor& sizes, const Tensor& to, int64_t rows);
/// dx[n, a] = dy[n, to a] * s[n, a] / S[n, to a], S the new sizes.
Tensor merge_rows_grad(const Tensor& dy, const Tensor& sizes, const Tensor& to);

/// (N, rows) f32: the sums of the sizes that meet in a row. Exact below 2^24.
Tensor merge_sizes(const Tensor& sizes, const Tensor& to, int64_t rows);

struct TokenMergeKernels {  // on contiguous tensors
  Tensor (*match)(const Tensor& x, const MatchOptions& options);
  Tensor (*merge)(const Tensor& x, const Tensor& sizes, const Tensor& to, int64_t rows);
  Tensor (*merge_grad)(const Tensor& dy, const Tensor& sizes, const Tensor& to);
  Tensor (*sizes)(const Tensor& sizes, const Tensor& to, int64_t rows);
  /// merge into y, which is there.
  void (*merge_into)(const Tensor& x, const Tensor& sizes, const Tensor& to, Tensor& y);
};
inline constinit PerDevice<TokenMergeKernels> token_merge_kernels{"token_merge"};

}  // namespace vtrain
