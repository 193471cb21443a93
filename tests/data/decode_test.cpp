#include "data/decode.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "tensor/str.h"
#include "tests/data/image_files.h"

namespace vtrain {
namespace {

bool has_libjpeg() {
  const std::vector<std::string> all = registered_decoders();
  if (std::ranges::find(all, "libjpeg") != all.end()) return true;
  MESSAGE("skipped: this build has no libjpeg-turbo");
  return false;
}

std::string error_of(std::span<const uint8_t> bytes, std::string_view decoder = {}) {
  try {
    decode_image(bytes, {.path = "cat/1.jpg", .decoder = decoder});
  } catch (const DamagedImage& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE(
    "decode: JPEG through libjpeg-turbo gives PIL's pixels: subsampled, progressive, grey, "
    "CMYK, and turned by a camera's note that is ignored") {
  if (!has_libjpeg()) return;
  for (const std::string name :
       {"420.jpg", "422.jpg", "444.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "turned.jpg"}) {
    CAPTURE(name);
    const Image image = decode_image(image_file(name), {.path = name, .decoder = "libjpeg"});
    CHECK(image.pixels == stored_image("decode." + name).pixels);
  }
}

TEST_CASE("decode: JPEG through stb_image is near PIL's pixels") {
  for (const std::string name :
       {"420.jpg", "422.jpg", "444.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "turned.jpg"}) {
    CAPTURE(name);
    const Image image = decode_image(image_file(name), {.path = name, .decoder = "stb"});
    const Difference off = difference(image, stored_image("decode." + name));
    // Its inverse DCT rounds otherwise, by a level or two; chroma that is stored at half the size
    // it interpolates otherwise too, which shows at the disc's edge.
    const bool is_subsampled = name != "444.jpg" && name != "grey.jpg";
    CHECK(off.mean < 1.0);
    CHECK(off.most <= (is_subsampled ? 16 : 3));
  }
}

TEST_CASE("decode: PNG, BMP and PNM give PIL's pixels: palette, alpha, 1 and 16 bits") {
  for (const std::string name : {"rgb.png", "grey.png", "bits.png", "palette.png", "alpha.png",
                                 "grey_alpha.png", "grey16.png", "rgb.bmp", "rgb.ppm"}) {
    CAPTURE(name);
    const Image image = decode_image(image_file(name), {.path = name});
    CHECK(image.pixels == stored_image("decode." + name).pixels);
  }
}

TEST_CASE("decode: one channel is PIL's grey") {
  for (const std::string name : {"420.jpg", "cmyk.jpg", "rgb.png", "alpha.png"}) {
    CAPTURE(name);
    const Image expected = stored_image("grey." + name);
    const Image image = decode_image(image_file(name), {.path = name, .channels = 1});
    const bool is_exact = name.ends_with(".png") || has_libjpeg();
    CHECK(difference(image, expected).most <= (is_exact ? 0 : 16));  // as in colour, see above
  }
}

TEST_CASE("decode: a part has the pixels of the whole, wherever it lies") {
  for (const std::string name :
       {"420.jpg", "422.jpg", "444.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png"}) {
    CAPTURE(name);
    const std::vector<uint8_t> bytes = image_file(name);
    const Image all = decode_image(bytes, {.path = name});
    for (const Box region : {Box{0, 0, 1, 1}, Box{28, 36, 29, 37}, Box{3, 5, 27, 32},
                             Box{15, 15, 17, 17}, Box{16, 16, 29, 37}, Box{8, 0, 9, 37},
                             Box{0, 31, 29, 33}, Box{0, 0, 29, 37}, Box{17, 2, 18, 20}}) {
      CAPTURE(region.top);
      CAPTURE(region.left);
      const auto decoder = open_image(bytes, {.path = name});
      Image part;
      const Box got = decoder->decode(region, part);
      REQUIRE(got.top <= region.top);
      REQUIRE(got.left <= region.left);
      REQUIRE(got.bottom >= region.bottom);
      REQUIRE(got.right >= region.right);
      REQUIRE(part.size == ImageSize{3, got.height(), got.width()});
      bool is_same = true;
      for (int64_t y = region.top; y < region.bottom; ++y) {
        is_same &= std::equal(all.row(y) + region.left * 3, all.row(y) + region.right * 3,
                              part.row(y - got.top) + (region.left - got.left) * 3);
      }
      CHECK(is_same);
    }
  }
}

TEST_CASE("decode: a file that is cut off anywhere is damaged, through every decoder, and named") {
  for (const std::string name :
       {"420.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "palette.png", "rgb.bmp", "rgb.ppm"}) {
    const std::vector<uint8_t> bytes = image_file(name);
    for (const std::string& decoder : registered_decoders()) {
      if (decoder == "libjpeg" && !name.ends_with(".jpg")) continue;
      CAPTURE(name);
      CAPTURE(decoder);
      int accepted = 0, badly_named = 0;
      for (size_t length = 0; length + 2 <= bytes.size(); ++length) {
        std::string error = "no error";
        try {
          decode_image(std::span(bytes).first(length), {.path = "cat/1.jpg", .decoder = decoder});
          ++accepted;
        } catch (const DamagedImage& damaged) {
          badly_named += !std::string(damaged.what()).starts_with("cat/1.jpg: ");
        }
      }
      CHECK(accepted == 0);
      CHECK(badly_named == 0);
    }
  }
}

TEST_CASE("decode: damage is found also where it lies below the part that is wanted") {
  std::vector<uint8_t> bytes = image_file("420.jpg");
  bytes.resize(bytes.size() - 40);
  for (const std::string& name : registered_decoders()) {
    CAPTURE(name);
    const auto decode_corner = [&] {
      Image part;
      open_image(bytes, {.path = "x", .decoder = name})->decode({0, 0, 4, 4}, part);
    };
    CHECK_THROWS_AS(decode_corner(), DamagedImage);
  }
}

TEST_CASE("decode: flipped bits end in an image or in a DamagedImage, never in a crash") {
  for (const std::string name :
       {"420.jpg", "progressive.jpg", "palette.png", "rgb.bmp", "rgb.ppm"}) {
    const std::vector<uint8_t> good = image_file(name);
    for (const std::string& decoder : registered_decoders()) {
      if (decoder == "libjpeg" && !name.ends_with(".jpg")) continue;
      int read = 0, refused = 0;
      for (size_t i = 3; i < good.size(); i += 3) {
        std::vector<uint8_t> bytes = good;
        bytes[i] ^= static_cast<uint8_t>(1U << i % 8);
        try {
          decode_image(bytes, {.path = name, .decoder = decoder});
          ++read;
        } catch (const DamagedImage&) {
          ++refused;
        }
      }
      CHECK(refused > 0);
      if (name == "palette.png") CHECK(read == 0);  // every byte is under a checksum
    }
  }
}

TEST_CASE("decode: a Huffman table with more symbols than there are is damage") {
  std::vector<uint8_t> bytes = image_file("420.jpg");
  const std::array<uint8_t, 2> marker = {0xFF, 0xC4};
  const auto table = std::ranges::search(bytes, marker).begin();
  REQUIRE(table != bytes.end());
  std::fill_n(table + 5, 16, uint8_t{0xFF});  // behind marker, length, and class
  for (const std::string& name : registered_decoders()) CHECK(error_of(bytes, name) != "no error");
  CHECK(error_of(bytes, "stb") == "cat/1.jpg: is a damaged JPEG: a Huffman table is too long");
}

TEST_CASE("decode: stb_image does not read a JPEG by the Huffman tables of the one before it") {
  std::vector<uint8_t> bytes = image_file("420.jpg");
  for (size_t i = 0; i + 1 < bytes.size(); ++i) {
    if (bytes[i] == 0xFF && bytes[i + 1] == 0xC4) bytes[i + 1] = 0xEF;  // a note of a program
  }
  decode_image(image_file("420.jpg"), {.path = "x", .decoder = "stb"});
  CHECK(error_of(bytes, "stb").starts_with("cat/1.jpg: is a damaged JPEG: "));
}

TEST_CASE("decode: each thing that is no image has a message of its own") {
  const auto bytes = [](std::string_view text) {
    return std::vector<uint8_t>(text.begin(), text.end());
  };
  CHECK(error_of({}) == "cat/1.jpg: the file is empty");
  CHECK(error_of(bytes("<html>not found</html>")) ==
        "cat/1.jpg: is no image: expected JPEG, PNG, BMP or PNM");
  CHECK(error_of(bytes("RIFF....WEBPVP8 ")) ==
        "cat/1.jpg: is a WebP image, which is not read; convert it to JPEG or PNG");
  std::vector<uint8_t> png = image_file("rgb.png");
  png[png.size() - 30] ^= 1;
  CHECK(error_of(png).find("is a damaged PNG: the checksum of chunk IDAT at byte ") !=
        std::string::npos);
  CHECK(error_of(std::span(png).first(100)).find("is a damaged PNG: ends at byte 100") !=
        std::string::npos);
  std::vector<uint8_t> huge = image_file("rgb.ppm");
  const std::string_view header = "P6\n99999 99999\n255\n";
  std::ranges::copy(header, huge.begin());
  CHECK(error_of(huge) ==
        "cat/1.jpg: its header says 99999 x 99999 pixels, which is more than is believable");
  CHECK_THROWS_WITH_AS(decode_image(png, {.path = "x", .decoder = "nvjpeg"}),
                       "no image decoder is called nvjpeg", DataError);
  if (!has_libjpeg()) return;
  const std::vector<uint8_t> jpeg = image_file("420.jpg");
  CHECK(error_of(std::span(jpeg).first(900)) ==
        "cat/1.jpg: is a damaged JPEG: Premature end of JPEG file");
}

TEST_CASE("decode: names of image files are told in any case") {
  CHECK(has_image_name("a/b.JPEG"));
  CHECK(has_image_name("x.png"));
  CHECK_FALSE(has_image_name("x.txt"));
  CHECK_FALSE(has_image_name("jpg"));
  CHECK_FALSE(has_image_name(""));
}

}  // namespace vtrain
