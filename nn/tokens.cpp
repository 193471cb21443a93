#include "nn/tokens.h"

#include "autograd/shape.h"
#include "autograd/tokens.h"

namespace vtrain {
namespace {
/// (N, L) along the same rows.
Variable gather_flat(const Variable& x, const Variable& index) {
  if (!x.defined()) return x;
  return reshape(gather_rows(reshape(x, {x.dim(0), x.dim(1), 1}), index), index.shape());
}
}  // namespace

Tokens gather(const Tokens& t, const Variable& index) {
  Tokens u = t;
  u.x = gather_rows(t.x, index);
  u.mask = gather_flat(t.mask, index);
  u.key_bias = gather_flat(t.key_bias, index);
  u.sizes = gather_flat(t.sizes, index);
  u.attended = {};  // its rows are those before
  return u;
}

Variable patch_tokens(const Tokens& t) {
  return t.num_special == 0 ? t.x : slice(t.x, 1, t.num_special, t.length());
}

}  // namespace vtrain
