#include "train/token_pictures.h"

#include <doctest/doctest.h>

#include <array>

#include "tensor/error.h"

namespace vtrain {
namespace {

using Colour = std::array<int, 3>;

/// Four patches of 3 x 3 pixels. In block 0 the last merges with the second, in block 1 nothing
/// happens, in block 2 the third is dropped.
TokenHistory four_patches() {
  const auto behind = [](int64_t block, int64_t tokens, std::initializer_list<double> dest) {
    return TokensBehind{
        .block = block, .tokens = tokens, .dest = from_values({1, 4}, dest, DType::i32)};
  };
  return {.side = 2,
          .patch_size = 3,
          .behind = {behind(0, 3, {2, 1, 0, 1}), behind(1, 3, {2, 1, 0, 1}),
                     behind(2, 2, {0, 1, -1, 1})}};
}

/// Grey: 10 in the first patch, 30 in the second, 100 in the third, 60 in the last, which has a
/// pixel of 114 in its middle.
Image grey_image() {
  Image image;
  image.resize({1, 6, 6});
  const int values[] = {10, 30, 100, 60};
  for (int64_t y = 0; y < 6; ++y) {
    for (int64_t x = 0; x < 6; ++x)
      image.row(y)[x] = static_cast<uint8_t>(values[y / 3 * 2 + x / 3]);
  }
  image.row(4)[4] = 114;
  return image;
}

Image rgb_image() {
  const Image grey = grey_image();
  Image image;
  image.resize({3, 6, 6});
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = grey.pixels[i / 3];
  return image;
}

Colour at(const Image& image, int64_t y, int64_t x) {
  const uint8_t* const pixel = image.row(y) + 3 * x;
  return {pixel[0], pixel[1], pixel[2]};
}

TEST_CASE("token pictures: a patch leaves when it is dropped or its token has a lower patch") {
  const PatchFates fates = patch_fates(four_patches(), 0);
  CHECK(fates.block_left == std::vector<int64_t>{-1, -1, 2, 0});
  CHECK(fates.group == std::vector<int64_t>{0, 1, -1, 1});
  CHECK(fates.tokens == 2);
  CHECK(fates.blocks == 3);
  CHECK(fates.has_changes());
  REQUIRE(fates.stages.size() == 1);  // a merge drops nothing
  CHECK(fates.stages[0].block == 2);
  CHECK(fates.stages[0].kept == 3);
  CHECK(fates.stages[0].is_kept == std::vector<bool>{true, true, false, true});
}

TEST_CASE("token pictures: tokens that keep merging leave one by one, and go together") {
  TokenHistory history = four_patches();
  const auto dest = [](std::initializer_list<double> rows) {
    return from_values({1, 4}, rows, DType::i32);
  };
  history.behind[0] = {.block = 0, .tokens = 3, .dest = dest({0, 1, 2, 1})};
  history.behind[1] = {.block = 1, .tokens = 2, .dest = dest({0, 1, 1, 1})};
  history.behind[2] = {.block = 5, .tokens = 1, .dest = dest({0, -1, -1, -1})};
  const PatchFates fates = patch_fates(history, 0);
  CHECK(fates.block_left == std::vector<int64_t>{-1, 5, 1, 0});
  CHECK(fates.group == std::vector<int64_t>{0, -1, -1, -1});
  CHECK(fates.blocks == 6);
}

TEST_CASE("token pictures: nothing changes where every patch keeps its token") {
  const PatchFates fates = patch_fates({.side = 2, .patch_size = 3, .behind = {}}, 0);
  CHECK_FALSE(fates.has_changes());
  CHECK(fates.group == std::vector<int64_t>{0, 1, 2, 3});
}

TEST_CASE("token pictures: a dropped patch is under a veil, the others are as they were") {
  const PatchFates fates = patch_fates(four_patches(), 0);
  const Image map = kept_map(rgb_image(), fates, fates.stages[0]);
  CHECK(at(map, 0, 0) == Colour{10, 10, 10});
  CHECK(at(map, 2, 3) == Colour{30, 30, 30});
  CHECK(at(map, 3, 2) == Colour{224, 224, 224});  // 0.2 * 100 + 204
  CHECK(at(map, 4, 4) == Colour{114, 114, 114});
}

// The mean of nine pixels of 30, eight of 60 and one of 114: 864 / 18 = 48. Group 0 has hue 0, red;
// group 1 has 0.618, 3.708 sixths of the circle: blue, with 0.292 * 255 of green.
TEST_CASE("token pictures: a token has one colour in one frame, and dropped patches are black") {
  const Image map = merged_map(rgb_image(), patch_fates(four_patches(), 0));
  const Colour red{255, 0, 0}, blue{0, 74, 255}, black{0, 0, 0};
  CHECK(at(map, 0, 0) == red);
  CHECK(at(map, 1, 1) == Colour{10, 10, 10});
  CHECK(at(map, 2, 2) == red);
  CHECK(at(map, 0, 4) == blue);
  CHECK(at(map, 1, 3) == blue);
  CHECK(at(map, 5, 4) == blue);
  for (const int64_t y : {1, 2, 3, 4}) CHECK(at(map, y, 4) == Colour{48, 48, 48});  // no frame
  CHECK(at(map, 3, 0) == black);
  CHECK(at(map, 4, 1) == black);
}

TEST_CASE("token pictures: depth goes from dark blue to yellow") {
  TokenHistory history = four_patches();
  history.behind[2].block = 3;
  const Image map = depth_map(rgb_image(), patch_fates(history, 0));
  CHECK(at(map, 0, 0) == Colour{253, 231, 37});  // stays
  CHECK(at(map, 5, 5) == Colour{68, 1, 84});     // block 0
  // Block 3 of 4: the fourth of five colours.
  CHECK(at(map, 5, 0) == Colour{94, 201, 98});
  // Block 2 of 4, and 1: the third, and the second.
  history.behind[2].block = 2;
  history.behind.push_back(history.behind[2]);
  history.behind[3].block = 3;
  CHECK(at(depth_map(rgb_image(), patch_fates(history, 0)), 5, 0) == Colour{33, 145, 140});
  history.behind[1] = history.behind[2];
  history.behind[1].block = 1;
  CHECK(at(depth_map(rgb_image(), patch_fates(history, 0)), 5, 0) == Colour{59, 82, 139});
}

// 6 pixels become 228, 38 each: the least multiple that is 224 or more.
TEST_CASE("token pictures: panels stand in a row, enlarged, with white gaps") {
  const PatchFates fates = patch_fates(four_patches(), 0);
  const Image row = token_panels(grey_image(), fates);
  CHECK(row.size == ImageSize{3, 228, 4 * 228 + 3 * 8});
  const int64_t panel = 228 + 8;
  CHECK(at(row, 0, 0) == Colour{10, 10, 10});
  CHECK(at(row, 4 * 38, 5 * 38 - 1) == Colour{114, 114, 114});
  CHECK(at(row, 4 * 38, 5 * 38) == Colour{60, 60, 60});
  CHECK(at(row, 0, 228) == Colour{255, 255, 255});
  CHECK(at(row, 227, panel - 1) == Colour{255, 255, 255});
  CHECK(at(row, 227, panel) == Colour{224, 224, 224});
  CHECK(at(row, 0, 2 * panel) == Colour{255, 0, 0});
  CHECK(at(row, 1, 2 * panel + 1) == Colour{10, 10, 10});  // the frame is one pixel wide
  CHECK(at(row, 227, 3 * panel + 227) == Colour{68, 1, 84});
  CHECK(token_caption(fates) ==
        "image | 3 of 4 patches behind block 2 | 2 tokens at the end | blocks in which patches "
        "left");
}

TEST_CASE("token pictures: an image of another size is refused") {
  Image image;
  image.resize({1, 6, 5});
  CHECK_THROWS_WITH_AS(token_panels(image, patch_fates(four_patches(), 0)),
                       "token pictures: expected an image of 6 x 6 pixels, grey or RGB, got "
                       "(6, 5, 1)",
                       ShapeError);
}

TEST_CASE("token pictures: the table has a line for every patch") {
  const PatchFates fates = patch_fates(four_patches(), 0);
  CHECK(std::string(kTokenTableHead) == "image,patch_row,patch_col,block_left,group\n");
  CHECK(token_table("cat", fates) ==
        "cat,0,0,-1,0\n"
        "cat,0,1,-1,1\n"
        "cat,1,0,2,-1\n"
        "cat,1,1,0,1\n");
  CHECK(token_table("a, \"b\"", fates).starts_with("\"a, \"\"b\"\"\",0,0,-1,0\n"));
}

}  // namespace
}  // namespace vtrain
