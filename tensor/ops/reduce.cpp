#include "tensor/ops/reduce.h"

#include <algorithm>
#include <numeric>

#include "tensor/dispatch.h"
#include "tensor/ops/binary.h"

namespace vtrain {

Tensor sum(const Tensor& x, std::vector<int> dims, bool keep_dims) {
  check_real("sum", "x", x);
  if (dims.empty()) {
    dims.resize(static_cast<size_t>(x.ndim()));
    std::iota(dims.begin(), dims.end(), 0);
  }
  for (int& dim : dims) dim = checked_dim("sum", dim, x.shape());
  std::sort(dims.begin(), dims.end());
  if (std::adjacent_find(dims.begin(), dims.end()) != dims.end())
    throw ShapeError("[sum] dims: one is named twice");

  Tensor y = x.contiguous();
  Shape kept = x.shape();
  // Neighbouring dims are summed in one go, the last group first so that positions in front stay
  // valid.
  for (size_t last = dims.size(); last > 0;) {
    size_t first = last - 1;
    while (first > 0 && dims[first - 1] == dims[first] - 1) --first;
    const auto begin = kept.begin() + dims[first], end = kept.begin() + dims[last - 1] + 1;
    const int64_t outer = std::accumulate(kept.begin(), begin, int64_t{1}, std::multiplies<>());
    const int64_t axis = std::accumulate(begin, end, int64_t{1}, std::multiplies<>());
    const int64_t inner = std::accumulate(end, kept.end(), int64_t{1}, std::multiplies<>());
    y = reduce_kernels.on(x.device()).sum_middle(y, outer, axis, inner);
    std::fill(begin, end, 1);
    last = first;
  }
  if (!keep_dims) {
    for (size_t i = dims.size(); i-- > 0;) kept.erase(kept.begin() + dims[i]);
  }
  return y.reshape(kept);
}

Tensor mean(const Tensor& x, std::vector<int> dims, bool keep_dims) {
  const Tensor total = sum(x, std::move(dims), keep_dims);
  const int64_t count = x.numel() / std::max<int64_t>(total.numel(), 1);
  return multiply(total, 1.0 / static_cast<double>(count));
}

Tensor sum_rows(const Tensor& x) {
  check_real("sum_rows", "x", x);
  if (x.ndim() != 2) throw ShapeError(str("[sum_rows] x ", x.shape(), ": expected (rows, C)"));
  return reduce_kernels.on(x.device()).sum_rows(x.contiguous());
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const size_t lead = x.shape().size() - shape.size();
  std::vector<int> dims;
  for (size_t i = 0; i < x.shape().size(); ++i) {
    if (i < lead || (shape[i - lead] == 1 && x.shape()[i] != 1))
      dims.push_back(static_cast<int>(i));
  }
  return (dims.empty() ? x : sum(x, dims, true)).reshape(shape);
}

Tensor argmax_rows(const Tensor& x) {
  check_real("argmax_rows", "x", x);
  if (x.ndim() != 2 || x.dim(1) == 0)
    throw ShapeError(str("[argmax_rows] x ", x.shape(), ": expected (N, K), K >= 1"));
  return reduce_kernels.on(x.device()).argmax_rows(x.contiguous());
}

std::vector<int64_t> label_ranks(const Tensor& logits, const Tensor& labels) {
  if (logits.ndim() != 2 || labels.shape() != Shape{logits.dim(0)}) {
    throw ShapeError(
        str("[label_ranks] labels ", labels.shape(), ": expected (N) for logits ", logits.shape()));
  }
  const std::vector<double> scores = logits.to_vector();
  const Tensor on_host = labels.to(Device{}).contiguous();
  const int32_t* const label = on_host.data<int32_t>();
  const int64_t classes = logits.dim(1);
  std::vector<int64_t> ranks;
  for (int64_t n = 0; n < logits.dim(0); ++n) {
    const double* const row = scores.data() + n * classes;
    const double own = row[label[n]];
    ranks.push_back(std::count_if(row, row + classes, [own](double s) { return !(s <= own); }) +
                    std::count(row, row + label[n], own));
  }
  return ranks;
}

}  // namespace vtrain
