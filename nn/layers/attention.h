#pragma once

#include "nn/layers/linear.h"

namespace vtrain {

/// Multi-head self-attention: proj(softmax(q k^T / sqrt(head_dim)) v), with q, k, v = qkv(x) split
/// by head. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762. Keys that
/// tokens.mask hides are read by no other token (tensor/ops/attention.h).
///   x (N, L, dim) -> (N, L, dim)
class SelfAttention final : public Module {
 public:
  /// Throws RecipeError unless num_heads divides dim.
  SelfAttention(int64_t dim, int64_t num_heads);
  Tokens forward_tokens(const Tokens& t, const Pass& pass) override;
  /// The scale stays that of the uncut head: narrower heads then compute what masked ones do.
  std::map<std::string, double> structure() const override;
  void set_structure(const std::map<std::string, double>& numbers) override;

 private:
  int64_t num_heads_, qk_dim_, v_dim_;
  double scale_;
  Linear qkv_, proj_;
};

}  // namespace vtrain
