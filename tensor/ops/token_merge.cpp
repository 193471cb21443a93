#include "tensor/ops/token_merge.h"

namespace vtrain {
namespace {

void check_tokens(const char* op, const Tensor& x) {
  check_real(op, "x", x);
  if (x.ndim() != 3) throw ShapeError(str('[', op, "] x ", x.shape(), ": expected (N, L, C)"));
}

void check_destinations(const char* op, const Tensor& to, int64_t samples, int64_t length) {
  if (to.shape() != Shape{samples, length} || to.dtype() != DType::i32)
    throw ShapeError(
        str('[', op, "] to: expected i32 (", samples, ", ", length, "), got ", to.text()));
}

/// Contiguous, or undefined.
Tensor checked_sizes(const char* op, const Tensor& sizes, const Tensor& to) {
  if (!sizes.defined()) return sizes;
  if (sizes.shape() != to.shape() || sizes.dtype() != DType::f32)
    throw ShapeError(str('[', op, "] sizes: expected f32 ", to.shape(), ", got ", sizes.text()));
  return sizes.contiguous();
}

}  // namespace

Tensor match_tokens(const Tensor& x, const MatchOptions& o) {
  check_tokens("match_tokens", x);
  if (o.begin < 0 || o.heads < 1 || o.width < 1 || o.begin + o.heads * o.width > x.dim(2))
    throw ShapeError(str("[match_tokens] x ", x.shape(), ": expected at least ",
                         o.begin + o.heads * o.width, " columns for ", o.heads, " x ", o.width,
                         " from ", o.begin));
  const int64_t others = x.dim(1) - o.num_special;
  if (o.num_special < 0 || others < 0 || o.r < 0 || 2 * o.r > others)
    throw ShapeError(str("[match_tokens] r: expected 0..", std::max<int64_t>(others / 2, 0),
                         " for x ", x.shape(), " with ", o.num_special, " special tokens, got ",
                         o.r));
  return token_merge_kernels.on(x.device()).match(x.contiguous(), o);
}

Tensor merge_rows(const Tensor& x, const Tensor& sizes, const Tensor& to, int64_t rows) {
  check_tokens("merge_rows", x);
  check_destinations("merge_rows", to, x.dim(0), x.dim(1));
  const Tensor s = checked_sizes("merge_rows", sizes, to);
  return token_merge_kernels.on(x.device()).merge(x.contiguous(), s, to.contiguous(), rows);
}

Tensor merge_rows_grad(const Tensor& dy, const Tensor& sizes, const Tensor& to) {
  check_tokens("merge_rows_grad", dy);
  check_destinations("merge_rows_grad", to, dy.dim(0), to.ndim() == 2 ? to.dim(1) : 0);
  const Tensor s = checked_sizes("merge_rows_grad", sizes, to);
  return token_merge_kernels.on(dy.device()).merge_grad(dy.contiguous(), s, to.contiguous());
}

Tensor merge_sizes(const Tensor& sizes, const Tensor& to, int64_t rows) {
  if (to.ndim() != 2) throw ShapeError(str("[merge_sizes] to ", to.shape(), ": expected (N, L)"));
  check_destinations("merge_sizes", to, to.dim(0), to.dim(1));
  const Tensor s = checked_sizes("merge_sizes", sizes, to);
  return token_merge_kernels.on(to.device()).sizes(s, to.contiguous(), rows);
}

}  // namespace vtrain
