#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/image.h"
#include "nn/token_history.h"

namespace vtrain {

/// What became of the patches of one image.
struct PatchFates {
  /// A block behind which fewer patches were left than behind the one before: which ones.
  struct Stage {
    int64_t block = 0;
    std::vector<bool> is_kept;  // by patch
    int64_t kept = 0;
  };

  int64_t side = 0, patch_size = 0;  // of the grid in patches, of a patch in pixels
  int64_t blocks = 0;                // up to the last one that is there
  int64_t tokens = 0;                // of patches, at the end
  /// By patch: the block in which it was dropped, or its token merged with one that holds a patch
  /// of a lower number; -1: it stands for its token to the end. So `tokens` of them are -1.
  std::vector<int64_t> block_left;
  /// By patch: the lowest patch in its token at the end; -1: dropped.
  std::vector<int64_t> group;
  std::vector<Stage> stages;  // where patches were dropped, not merged

  bool has_changes() const { return tokens < side * side; }
};

/// Of image `sample` of the history.
PatchFates patch_fates(const TokenHistory& history, int64_t sample);

/// Pictures of tokens on RGB images of `side` patches by `side`, of the size that the image has.

/// The patches that are left as they are, the others under a white veil: 0.2 p + 0.8 * 255.
Image kept_map(const Image& image, const PatchFates& fates, const PatchFates::Stage& stage);
/// The patches of a token in their mean colour, and a border of one pixel around each token in a
/// colour of its own: its hue follows from the lowest patch in it, in golden sections of the
/// circle. Dropped patches are black.
Image merged_map(const Image& image, const PatchFates& fates);
/// Every patch by the block in which it left, dark blue in block 0, over green, to yellow for those
/// that stay (viridis). Of the size of `image`.
Image depth_map(const Image& image, const PatchFates& fates);

/// All of an image in one row: the image, a kept_map for each stage, merged_map, depth_map, with
/// white gaps. Every panel is the image in RGB, each pixel a square, as many as bring its side to
/// 224 at least.
Image token_panels(const Image& image, const PatchFates& fates);
/// What the panels are, from left to right: "image | 34 of 49 patches behind block 2 | ..".
std::string token_caption(const PatchFates& fates);

/// Lines of a table for programs: kTokenTableHead, then a line for every patch of `image`, a name.
inline constexpr const char* kTokenTableHead = "image,patch_row,patch_col,block_left,group\n";
std::string token_table(const std::string& image, const PatchFates& fates);

}  // namespace vtrain
