#pragma once

#include "autograd/variable.h"
#include "tensor/ops/token_merge.h"

namespace vtrain {

/// tensor/ops/token_merge.h says the formulas. The matching decides and carries no gradient: none
/// reaches its x, nor sizes. A merged row hands its gradient to its tokens in proportion to their
/// sizes.
Variable match_tokens(const Variable& x, const MatchOptions& options);
Variable merge_rows(const Variable& x, const Variable& sizes, const Variable& to, int64_t rows);
Variable merge_sizes(const Variable& sizes, const Variable& to, int64_t rows);

}  // namespace vtrain
