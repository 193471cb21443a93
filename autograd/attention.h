#pragma once

#include "autograd/variable.h"
#include "tensor/ops/attention.h"

namespace vtrain {

/// Multi-head attention on packed queries, keys and values (tensor/ops/attention.h says the
/// formula).
///   qkv (N, L, heads * (2 qk_dim + v_dim)), mask and key_bias (N, L), f32 beside bf16, or
///   undefined  ->  (N, L, heads * v_dim)
/// Gradients reach qkv, the mask (also of hidden keys: that is how a dropped token can come back)
/// and the bias.
Variable attention(const Variable& qkv, const Variable& mask, const Variable& key_bias,
                   const AttentionOptions& options);

}  // namespace vtrain
