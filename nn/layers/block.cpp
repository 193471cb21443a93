#include "nn/layers/block.h"

#include <utility>

#include "autograd/arithmetic.h"

namespace vtrain {

Block::Block(int64_t dim, int64_t num_heads, int64_t hidden_dim, double drop_path)
    : norm1_(dim),
      norm2_(dim),
      attn_(dim, num_heads),
      mlp_(dim, hidden_dim),
      drop_path1_(drop_path),
      drop_path2_(drop_path) {
  add("norm1", norm1_);
  add("attn", attn_);
  add("drop_path1", drop_path1_);
  add("after_attention", after_attention_);
  add("norm2", norm2_);
  add("mlp", mlp_);
  add("drop_path2", drop_path2_);
}

Tokens Block::forward_tokens(const Tokens& t, const Pass& pass) {
  Tokens u = t;
  {
    Tokens a = attn_(norm1_(t, pass), pass);
    u.x = t.x + drop_path1_(a.x, pass);
    u.attended = std::move(a.attended);
  }
  u = after_attention_(u, pass);
  u.attended = {};
  u.x = u.x + drop_path2_(mlp_(norm2_(u.x, pass), pass), pass);
  return u;
}

}  // namespace vtrain
