#pragma once

#include "nn/layers/attention.h"
#include "nn/layers/drop_path.h"
#include "nn/layers/layer_norm.h"
#include "nn/layers/mlp.h"

namespace vtrain {

/// A module that hands its input on: a named place where nothing is computed but methods can act.
class Station final : public Module {
 public:
  Tokens forward_tokens(const Tokens& t, const Pass&) override { return t; }
};

/// A pre-norm transformer block: x += drop_path(attn(norm1(x))); x += drop_path(mlp(norm2(x))).
/// Dosovitskiy et al., arXiv:2010.11929, eqs. 2 and 3.
///
/// Three stations change tokens: the block's input ("blocks.3.in"), `after_attention` between the
/// halves, and the block's output.
class Block final : public Module {
 public:
  Block(int64_t dim, int64_t num_heads, int64_t hidden_dim, double drop_path);
  Tokens forward_tokens(const Tokens& t, const Pass& pass) override;

 private:
  LayerNorm norm1_, norm2_;
  SelfAttention attn_;
  Mlp mlp_;
  DropPath drop_path1_, drop_path2_;
  Station after_attention_;
};

}  // namespace vtrain
