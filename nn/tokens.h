#pragma once

#include <cstdint>
#include <memory>

#include "autograd/variable.h"

namespace vtrain {

/// What a block's attention has just looked at: queries, keys and values of all heads, packed as
/// tensor/ops/attention.h says, for methods that compare tokens.
struct Attended {
  Variable
      qkv;  // (N, L, num_heads * (2 qk_dim + v_dim)); undefined: no attention in this block yet
  int64_t num_heads = 0, qk_dim = 0, v_dim = 0;
  double scale = 1;  // of the products q k
};

/// What travels from block to block of a transformer.
struct Tokens {
  Variable x;  // (N, L, C)
  // Both f32 beside a bf16 x:
  Variable mask;      // (N, L): 1 = visible as a key; a gradient reaches it; undefined = all
  Variable key_bias;  // (N, L) added to the logits of key j; undefined = none
  Variable sizes;  // (N, L) f32, without gradient: patches a token stands for; undefined = 1 each
  Attended attended = {};   // from a block's attention to the end of the block
  int64_t num_special = 0;  // class and distillation tokens in front, which no method may drop
  double mask_eps = 0;      // of the masked softmax; above 0 only to reproduce published numbers
  bool mask_max_over_all =
      false;       // the softmax's maximum runs over hidden keys too: published form
  Variable score;  // (N, L) f32, without gradient: what a method carries from block to block to
                   // rank tokens by; undefined = none
  // While only some tokens travel, all of them as they were, and which of its rows these are:
  std::shared_ptr<const Tokens> whole = {};
  Variable index = {};  // (N, L) i32
  /// Source map: the row that each patch's token stands in now, in `whole` while a part travels; -1
  /// once it was dropped and nothing took it in. (N, P) i32, P patches of the image. Undefined, and
  /// then free, unless somebody put own_rows here; pictures do, in evaluation.
  Tensor dest = {};

  int64_t length() const { return x.dim(1); }
};

/// The tokens at `index` (N, K) i32 of all tokens, special ones included; mask, bias, sizes and
/// score go along, and their rows in `whole`; `dest` follows, unless t is a part, whose other
/// tokens only wait.
Tokens gather(const Tokens& t, const Variable& index);

/// The tokens at `index` (N, K) travel alone, and t waits. Throws Error if t is such a part
/// already.
Tokens split(const Tokens& t, const Variable& index);
/// All tokens again: those that travelled, with their scores, in their rows, the rest as it was.
/// Gradients reach both. Throws Error without a split before.
Tokens put_back(const Tokens& t);

/// The source map of tokens that nothing has moved yet: patch p in row num_special + p.
Tensor own_rows(const Tokens& t);
/// The source map once the token of row j stands in row to[n, j], -1: nowhere.
///   dest (N, P) i32    to (N, L) i32, with values from -1 on  ->  (N, P) i32
/// Throws ShapeError, also for a row outside of `to`.
Tensor follow(const Tensor& dest, const Tensor& to);

/// How each head's class token, the first, weighs the tokens: softmax over keys of scale q_0 k,
/// with the mask and the bias that attention had, no eps added. In f32 beside bf16, and no gradient
/// reaches the mask.   -> (N, num_heads, L)
/// Throws Error where no attention has looked at the tokens yet.
Variable class_attention(const Tokens& t);

/// Patch tokens: what stands behind the special ones.
Variable patch_tokens(const Tokens& t);

}  // namespace vtrain
