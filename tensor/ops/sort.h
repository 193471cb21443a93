#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

enum class SortOrder { kAscending, kDescending };

/// values as x, indices (i32) their positions along the axis.
struct Sorted {
  Tensor values, indices;
};

/// x in order along `axis`. Equal values (-0 and 0 are) keep their order, NaN comes last both
/// ways.
///   x  f32, f64 or bf16
/// Throws ShapeError.
Sorted sort(const Tensor& x, int axis, SortOrder order);

/// The first k of sort: with kDescending the k largest, the largest first; of equal values the one
/// at the lower position comes first. Throws ShapeError unless 1 <= k <= the axis' extent.
Sorted top_k(const Tensor& x, int64_t k, int axis, SortOrder order = SortOrder::kDescending);

struct SortKernels {  // x contiguous, (rows, length), sorted along rows; k of each are kept
  Sorted (*first)(const Tensor& x, int64_t rows, int64_t length, int64_t k, SortOrder order);
};
inline constinit PerDevice<SortKernels> sort_kernels{"sort"};

}  // namespace vtrain
