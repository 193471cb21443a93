#include "tensor/ops/sort.h"

namespace vtrain {
namespace {

Sorted first(const char* op, const Tensor& x, int64_t k, int axis, SortOrder order) {
  check_real(op, "x", x);
  const int a = checked_dim(op, axis, x.shape());
  const int64_t length = x.dim(a);
  if (k < 1 || k > length) {
    throw ShapeError(str('[', op, "] k: expected 1..", length, " along axis ", a, " of x ",
                         x.shape(), ", got ", k));
  }
  // The axis goes last, where a row of it lies in one piece.
  const Tensor rows = x.transpose(a, -1).contiguous();
  auto [values, indices] =
      sort_kernels.on(x.device()).first(rows, x.numel() / length, length, k, order);
  Shape shape = rows.shape();
  shape.back() = k;
  return {values.reshape(shape).transpose(a, -1).contiguous(),
          indices.reshape(shape).transpose(a, -1).contiguous()};
}

}  // namespace

Sorted sort(const Tensor& x, int axis, SortOrder order) {
  const int a = checked_dim("sort", axis, x.shape());
  if (x.numel() == 0)
    throw ShapeError(str("[sort] x ", x.shape(), ": expected at least one element"));
  return first("sort", x, x.dim(a), a, order);
}

Sorted top_k(const Tensor& x, int64_t k, int axis, SortOrder order) {
  return first("top_k", x, k, axis, order);
}

}  // namespace vtrain
