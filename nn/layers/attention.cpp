#include "nn/layers/attention.h"

#include <cmath>

#include "autograd/attention.h"

namespace vtrain {
namespace {
int64_t checked_heads(int64_t dim, int64_t num_heads) {
  if (num_heads < 1 || dim % num_heads != 0) {
    throw RecipeError(
        str("attention: expected a width divisible by the number of heads, got width ", dim,
            " and ", num_heads, " heads"));
  }
  return num_heads;
}
}  // namespace

SelfAttention::SelfAttention(int64_t dim, int64_t num_heads)
    : num_heads_(checked_heads(dim, num_heads)),
      head_dim_(dim / num_heads),
      qkv_(dim, 3 * dim),
      proj_(dim, dim) {
  add("qkv", qkv_);
  add("proj", proj_);
}

Tokens SelfAttention::forward_tokens(const Tokens& t, const Pass& pass) {
  const AttentionOptions options{.num_heads = num_heads_,
                                 .qk_dim = head_dim_,
                                 .v_dim = head_dim_,
                                 .scale = 1 / std::sqrt(static_cast<double>(head_dim_)),
                                 .mask_eps = t.mask_eps,
                                 .mask_max = t.mask_max_over_all ? MaskMax::kAll : MaskMax::kKept};
  Tokens u = t;
  u.x = proj_(attention(qkv_(t.x, pass), t.mask, t.key_bias, options), pass);
  return u;
}

}  // namespace vtrain
