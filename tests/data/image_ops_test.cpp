#include "data/image_ops.h"

#include <doctest/doctest.h>

#include "tests/data/image_files.h"

namespace vtrain {

TEST_CASE("image ops: they give the bytes of torchvision on PIL images") {
  const auto off = [](const char* name, auto change) {
    Image image = picture();
    change(image);
    return difference(image, stored_image(std::string("op.") + name)).most;
  };
  CHECK(off("brightness", [](Image& i) { adjust_brightness(i, 1.37); }) == 0);
  CHECK(off("contrast", [](Image& i) { adjust_contrast(i, 0.63); }) == 0);
  CHECK(off("saturation", [](Image& i) { adjust_saturation(i, 1.8); }) == 0);
  CHECK(off("hue", [](Image& i) { adjust_hue(i, 0.23); }) == 0);
  CHECK(off("hue_back", [](Image& i) { adjust_hue(i, -0.31); }) == 0);
  CHECK(off("mirror", [](Image& i) { mirror(i); }) == 0);
}

TEST_CASE("image ops: a grey image has no colour to change, and the rest works on one channel") {
  const Image grey = picture(1);
  Image image = grey;
  adjust_saturation(image, 1.9);
  adjust_hue(image, 0.3);
  CHECK(image.pixels == grey.pixels);
  adjust_sharpness(image, 1.9);
  CHECK(image.pixels != grey.pixels);
  image = grey;
  invert(image);
  invert(image);
  CHECK(image.pixels == grey.pixels);
}

TEST_CASE("image ops: contrast, histogram and rotation worked by hand") {
  Image image;
  image.resize({.channels = 1, .height = 1, .width = 4});
  image.pixels = {50, 100, 100, 150};
  Image a = image;
  autocontrast(a);
  CHECK(a.pixels == std::vector<uint8_t>{0, 127, 127, 255});
  Image c = image;
  adjust_contrast(c, 0);
  CHECK(c.pixels == std::vector<uint8_t>(4, 100));
  Image p = image;
  posterize(p, 1);
  CHECK(p.pixels == std::vector<uint8_t>{0, 0, 0, 128});
  Image s = image;
  transform_affine(s, {1, 0, 1, 0, 1, 0}, Interpolation::kBilinear, std::array<uint8_t, 1>{7});
  CHECK(s.pixels == std::vector<uint8_t>{100, 100, 150, 7});
  Image constant;
  constant.resize({.channels = 1, .height = 2, .width = 2});
  constant.pixels.assign(4, 9);
  autocontrast(constant);
  equalize(constant);
  CHECK(constant.pixels == std::vector<uint8_t>(4, 9));
}

}  // namespace vtrain
