#pragma once

#include "autograd/variable.h"
#include "tensor/ops/sort.h"

namespace vtrain {

/// Moves along an axis by integer index, as tensor/ops/indexing.h says; indices (i32) carry no
/// gradient. (For the rows of token tensors, one index row per sample, autograd/tokens.h has
/// gather_rows.)
Variable index_select(const Variable& x, int axis, const Tensor& index);
Variable gather(const Variable& x, int axis, const Variable& index);
Variable scatter_add(const Variable& x, int axis, const Variable& index, const Variable& src);
/// An element that was written over, of x or of an earlier source, gets no gradient.
Variable scatter(const Variable& x, int axis, const Variable& index, const Variable& src);

struct SortedVariables {
  Variable values, indices;  // the second i32, without gradient
};
/// tensor/ops/sort.h. The gradient of a value goes to the element it came from.
SortedVariables sort(const Variable& x, int axis, SortOrder order);
SortedVariables top_k(const Variable& x, int64_t k, int axis,
                      SortOrder order = SortOrder::kDescending);

}  // namespace vtrain
