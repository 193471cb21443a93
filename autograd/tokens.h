#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// y[n, j] = x[n, index[n, j]].   x (N, L, C), index (N, K) i32 (no gradient)  ->  (N, K, C)
Variable gather_rows(const Variable& x, const Variable& index);

/// Positions of the k highest scores of each row, ascending: (N, P) -> (N, k) i32. No gradient
/// reaches the score.
Variable select_top(const Variable& score, int64_t k);

/// index (N, K) i32 of patch tokens -> (N, T + K) i32 of all tokens: the T special tokens in front,
/// then index + T.
Variable with_special(const Variable& index, int64_t num_special);

/// Forward `hard`, backward that of `soft`: shapes equal. Bengio, Leonard, Courville,
/// arXiv:1308.3432.
Variable straight_through(const Tensor& hard, const Variable& soft);

}  // namespace vtrain
