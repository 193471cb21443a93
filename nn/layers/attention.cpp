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
      qk_dim_(dim / num_heads),
      v_dim_(dim / num_heads),
      scale_(1 / std::sqrt(static_cast<double>(qk_dim_))),
      qkv_(dim, 3 * dim),
      proj_(dim, dim) {
  add("qkv", qkv_);
  add("proj", proj_);
}

std::map<std::string, double> SelfAttention::structure() const {
  return {{"num_heads", static_cast<double>(num_heads_)},
          {"qk_dim", static_cast<double>(qk_dim_)},
          {"v_dim", static_cast<double>(v_dim_)}};
}

void SelfAttention::set_structure(const std::map<std::string, double>& numbers) {
  for (const auto& [name, number] : numbers) {
    const int64_t value =
        whole_number(path(), name, number, {{"num_heads", 1}, {"qk_dim", 1}, {"v_dim", 1}});
    (name == "num_heads" ? num_heads_ : name == "qk_dim" ? qk_dim_ : v_dim_) = value;
  }
}

Tokens SelfAttention::forward_tokens(const Tokens& t, const Pass& pass) {
  const AttentionOptions options{.num_heads = num_heads_,
                                 .qk_dim = qk_dim_,
                                 .v_dim = v_dim_,
                                 .scale = scale_,
                                 .mask_eps = t.mask_eps,
                                 .mask_max = t.mask_max_over_all ? MaskMax::kAll : MaskMax::kKept};
  Tokens u = t;
  u.attended = {.qkv = qkv_(t.x, pass),
                .num_heads = num_heads_,
                .qk_dim = qk_dim_,
                .v_dim = v_dim_,
                .scale = scale_};
  u.x = proj_(attention(u.attended.qkv, t.mask, t.key_bias, options), pass);
  return u;
}

}  // namespace vtrain
