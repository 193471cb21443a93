#pragma once

#include <cstdint>
#include <vector>

#include "nn/tokens.h"

namespace vtrain {

/// How many of `patches` tokens are left after each of `stages` stages: int(patches * ratio^s), the
/// power taken first, in double. Truncating is what the published counts were made with (196
/// patches, 0.7: 137, 96, 67).
std::vector<int64_t> keep_counts(int64_t patches, double ratio, int64_t stages);

/// The k patch tokens of highest score (N, P), in their old order, behind the special tokens.
Tokens keep_top(const Tokens& t, const Variable& score, int64_t k);

/// (N, P) of 0 and 1 in x's dtype: 1 at the k highest of each row.
Tensor top_mask(const Tensor& score, int64_t k);

}  // namespace vtrain
