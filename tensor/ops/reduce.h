#pragma once

#include <vector>

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Sum over `dims` (all if empty), which are dropped, or kept with extent 1.
///   x  f32, f64 or bf16; f32 and bf16 are accumulated in double (over columns: runs of 64 rows in
///   f32), in an order that does not depend on threads
///   -> x's dtype, but f32 for bf16: a sum has more digits than its terms, and gradients of
///   parameters, which are f32, come from here
/// Throws ShapeError if a dim is out of range or named twice.
Tensor sum(const Tensor& x, std::vector<int> dims = {}, bool keep_dims = false);
Tensor mean(const Tensor& x, std::vector<int> dims = {}, bool keep_dims = false);

/// (C): the sums of the columns of x (rows, C), the gradient of a bias. dtype and accumulation are
/// those of `sum`, but long columns are split among threads.
Tensor sum_rows(const Tensor& x);

/// The sum of x over what broadcasting repeated: the gradient of a broadcast from `shape` to x's
/// shape. dtype as `sum`, or x's where nothing was repeated.
Tensor sum_to(const Tensor& x, const Shape& shape);

/// (N) i32: the index of each row's largest value of x (N, K); the lowest index of a tie.
Tensor argmax_rows(const Tensor& x);

/// For each row of logits (N, K), how many classes score above that of labels (N) i32, ties counted
/// by index: a rank from 0.
std::vector<int64_t> label_ranks(const Tensor& logits, const Tensor& labels);

struct ReduceKernels {
  /// x viewed as (outer, axis, inner), contiguous: y (outer, inner) sums over the middle, in f32
  /// for bf16.
  Tensor (*sum_middle)(const Tensor& x, int64_t outer, int64_t axis, int64_t inner);
  Tensor (*argmax_rows)(const Tensor& x);
  Tensor (*sum_rows)(const Tensor& x);  // (rows, C) contiguous
};
inline constinit PerDevice<ReduceKernels> reduce_kernels{"reduce"};

}  // namespace vtrain
