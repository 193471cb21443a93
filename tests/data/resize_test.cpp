#include "data/resize.h"

#include <doctest/doctest.h>

#include "data/input_format.h"
#include "tests/data/handmade_dataset.h"
#include "tests/data/image_files.h"

namespace vtrain {
namespace {

constexpr auto kBilinear = Interpolation::kBilinear, kBicubic = Interpolation::kBicubic;

/// From the pixels that are needed alone: what lies outside of them must not matter.
Image scaled(const Image& image, const Scaling& scaling, Interpolation interpolation) {
  const Box at = pixels_needed(scaling, interpolation);
  Image part, result, rows;
  part.resize({image.size.channels, at.height(), at.width()});
  for (int64_t y = at.top; y < at.bottom; ++y) {
    std::copy_n(image.row(y) + at.left * image.size.channels, at.width() * image.size.channels,
                part.row(y - at.top));
  }
  scale(part, at, scaling, interpolation, result, rows);
  return result;
}

}  // namespace

TEST_CASE("resize: the bytes are PIL's, smaller and larger, each axis by itself, and of a window") {
  const Image image = picture();
  const Box all{0, 0, 29, 37}, box{3, 5, 27, 32};
  struct Case {
    std::string name;
    Box source;
    int64_t height, width;
    Interpolation interpolation;
    Box window;
  };
  for (const Case& c : {
           Case{"down", all, 12, 16, kBilinear, {0, 0, 12, 16}},
           Case{"down_bicubic", all, 12, 16, kBicubic, {0, 0, 12, 16}},
           Case{"up", box, 41, 40, kBilinear, {0, 0, 41, 40}},
           Case{"up_bicubic", box, 41, 40, kBicubic, {0, 0, 41, 40}},
           Case{"mixed", box, 9, 40, kBicubic, {0, 0, 9, 40}},
           Case{"width_only", box, 24, 11, kBilinear, {0, 0, 24, 11}},
           Case{"height_only", box, 11, 27, kBilinear, {0, 0, 11, 27}},
           Case{"window", box, 19, 20, kBilinear, {5, 3, 16, 17}},
           Case{"far", all, 2, 3, kBicubic, {0, 0, 2, 3}},
       }) {
    CAPTURE(c.name);
    const Image got = scaled(image, {c.source, c.height, c.width, c.window}, c.interpolation);
    CHECK(difference(got, stored_image("resize." + c.name)).most == 0);
  }
  CHECK(difference(scaled(picture(1), {box, 12, 16, {0, 0, 12, 16}}, kBilinear),
                   stored_image("resize.grey"))
            .most == 0);
}

TEST_CASE("resize: halving a row by hand") {
  // Weights of a triangle of half-width 2 around 1 and 3, cut at the edge: (3, 3, 1) / 7 and
  // (1, 3, 3) / 7.
  Image row;
  row.resize({.channels = 1, .height = 1, .width = 4});
  row.pixels = {0, 70, 140, 210};
  const Image half = scaled(row, {{0, 0, 1, 4}, 1, 2, {0, 0, 1, 2}}, kBilinear);
  CHECK(half.pixels == std::vector<uint8_t>{50, 160});
}

TEST_CASE("evaluation: resize and centre crop are torchvision's") {
  const Image image = picture();
  struct Case {
    std::string name;
    int64_t side;
    double crop_pct;
    Interpolation interpolation;
  };
  for (const Case& c : {Case{"20", 20, 0.875, kBilinear}, Case{"21_bicubic", 21, 0.9, kBicubic},
                        Case{"29_whole", 29, 1, kBilinear}}) {
    CAPTURE(c.name);
    const InputFormat input{.size = {3, c.side, c.side},
                            .is_resized = true,
                            .crop_pct = c.crop_pct,
                            .interpolation = c.interpolation};
    const Image got = scaled(image, evaluation_scaling(image.size, input), c.interpolation);
    CHECK(difference(got, stored_image("evaluate." + c.name)).most == 0);
  }
}

TEST_CASE("input format: the data set's own size, or the recipe's, or 224") {
  const HandmadeDataset square(5, {1, 28, 28}), wide(5, {1, 4, 6});
  const auto format = [](const Dataset& data, std::optional<int64_t> size) {
    return input_format(data, size, 0.875, kBilinear);
  };
  CHECK(format(square, {}).size == ImageSize{1, 28, 28});
  CHECK_FALSE(format(square, {}).is_resized);
  CHECK_FALSE(format(square, 28).is_resized);
  CHECK(format(square, 32).size == ImageSize{1, 32, 32});
  CHECK(format(square, 32).is_resized);
  CHECK_FALSE(format(wide, {}).is_resized);  // who needs squares says so
  struct Files : HandmadeDataset {
    using HandmadeDataset::HandmadeDataset;
    bool is_encoded() const override { return true; }
  };
  const Files square_files(5, {3, 32, 32}), wide_files(5, {3, 375, 500});
  CHECK_FALSE(format(square_files, {}).is_resized);
  CHECK(format(square_files, 32).is_resized);
  CHECK(format(wide_files, {}).size == ImageSize{3, 224, 224});
  CHECK(format(wide_files, {}).is_resized);
}

}  // namespace vtrain
