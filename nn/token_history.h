#pragma once

#include <cstdint>
#include <vector>

#include "nn/network.h"

namespace vtrain {

/// The patch tokens behind one block of a transformer.
struct TokensBehind {
  int64_t block = 0;   // its number
  int64_t tokens = 0;  // that are left, waiting ones too
  Tensor dest;         // (N, P) i32: which of them each patch is in, from 0; -1: dropped
};

/// Where the patches of some images went.
struct TokenHistory {
  int64_t side = 0;                  // of the grid of patches: P = side * side, row by row
  int64_t patch_size = 0;            // pixels
  std::vector<TokensBehind> behind;  // block by block, those that are there
};

/// Runs the network in evaluation and follows its patches through Tokens::dest. Parts and hooks in
/// front of, in and behind blocks are seen; a hook that shortens tokens at "blocks.0" itself is
/// refused, since nothing is in front of it: as a part, which is what a phase leaves, it is seen.
///   images (N, C, H, W) f32    first_sample as in Pass
/// Throws RecipeError for a network without blocks of tokens, and Error naming the block where
/// tokens changed and did not say where they went.
TokenHistory token_history(Network& network, const Tensor& images, int64_t first_sample = 0);

}  // namespace vtrain
