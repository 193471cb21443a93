#include "data/encode_png.h"

#include <doctest/doctest.h>

#include "data/decode.h"
#include "tensor/error.h"

namespace vtrain {
namespace {

Image gradient(const ImageSize& size) {
  Image image;
  image.resize(size);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(i * i / 3 + 11 * i);
  return image;
}

TEST_CASE("encode_png: what is written is read again, pixel by pixel, and twice the same") {
  for (const ImageSize& size :
       {ImageSize{1, 1, 1}, ImageSize{1, 5, 7}, ImageSize{3, 7, 5}, ImageSize{3, 300, 131}}) {
    CAPTURE(size.height);
    const Image image = gradient(size);
    const std::string file = encode_png(image);
    const Image again =
        decode_image({reinterpret_cast<const uint8_t*>(file.data()), file.size()},
                     {.path = "x.png", .channels = size.channels, .decoder = "stb"});
    CHECK(again.size == size);
    CHECK(again.pixels == image.pixels);
    CHECK(encode_png(image) == file);
  }
}

TEST_CASE("encode_png: no pixels, or pixels of two channels, are refused") {
  CHECK_THROWS_WITH_AS(encode_png(gradient({2, 4, 4})),
                       "PNG: expected an image of 1 or 3 channels, got (4, 4, 2)", Error);
  CHECK_THROWS_AS(encode_png(gradient({3, 0, 4})), Error);
}

}  // namespace
}  // namespace vtrain
