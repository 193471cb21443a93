// PNG, BMP and PNM, and JPEG where libjpeg-turbo is not there, through stb_image: the door to that
// header. stb_image reads whatever it can make sense of, so what it does not check is checked here:
// that a JPEG goes on to its end, and that the chunks of a PNG have the checksums they say.
//
// Its JPEG decoder rounds and interpolates chroma in its own way: pixels differ from libjpeg's by a
// level here and there, by more at sharp edges of colour.
#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "data/decode.h"
#include "tensor/str.h"

// Zeroed, because it reads tables that a damaged JPEG uses without defining them: what was in
// memory leads it past their end, or decodes the file by the tables of another one.
#define STBI_MALLOC(bytes) std::calloc(1, bytes)
#define STBI_REALLOC(p, bytes) std::realloc(p, bytes)
#define STBI_FREE(p) std::free(p)
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC  // a program that brings its own stb_image keeps it
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_PNM
#include <stb/stb_image.h>

namespace vtrain {
namespace {

constexpr uint8_t kPngSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

bool starts_with(std::span<const uint8_t> bytes, std::span<const uint8_t> start) {
  return bytes.size() >= start.size() && std::equal(start.begin(), start.end(), bytes.begin());
}
bool is_png(std::span<const uint8_t> bytes) { return starts_with(bytes, kPngSignature); }
bool is_jpeg(std::span<const uint8_t> bytes) {
  constexpr uint8_t kStart[] = {0xFF, 0xD8, 0xFF};
  return starts_with(bytes, kStart);
}
bool is_other(std::span<const uint8_t> bytes) {
  if (bytes.size() < 3) return false;
  const bool is_pnm = bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6');
  return is_pnm || (bytes[0] == 'B' && bytes[1] == 'M');
}

size_t big_endian(const uint8_t* p, int bytes) {
  size_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | p[i];
  return value;
}

/// What is wrong with a PNG's chunks; "" if each is whole and the last is IEND.
std::string png_error(std::span<const uint8_t> bytes) {
  size_t at = sizeof(kPngSignature);
  while (at + 12 <= bytes.size()) {  // length, type, checksum
    const uint8_t* const chunk = bytes.data() + at;
    const size_t length = big_endian(chunk, 4);
    if (length > bytes.size() - at - 12) break;
    const uint32_t sum = static_cast<uint32_t>(crc32(0, chunk + 4, static_cast<uInt>(length + 4)));
    const std::string type(reinterpret_cast<const char*>(chunk) + 4, 4);
    if (sum != big_endian(chunk + 8 + length, 4)) {
      return str("the checksum of chunk ", type, " at byte ", at, " is wrong");
    }
    if (type == "IEND") return "";
    at += length + 12;
  }
  return str("ends at byte ", bytes.size(), ", before its last chunk does");
}

/// Whether the Huffman tables of a DHT segment have room for their symbols: of a damaged one
/// stb_image would write more than its table of 256 holds.
bool are_tables_sound(std::span<const uint8_t> tables) {
  constexpr size_t kLengths = 16, kMostSymbols = 256;
  while (!tables.empty()) {
    if (tables.size() < 1 + kLengths) return false;
    const size_t symbols =
        std::accumulate(tables.begin() + 1, tables.begin() + 1 + kLengths, size_t{0});
    if (symbols > kMostSymbols || tables.size() < 1 + kLengths + symbols) return false;
    tables = tables.subspan(1 + kLengths + symbols);
  }
  return true;
}

/// What is wrong with a JPEG's markers; "" if they lead to the end-of-image marker.
std::string jpeg_error(std::span<const uint8_t> bytes) {
  const uint8_t* p = bytes.data() + 2;
  const uint8_t* const end = bytes.data() + bytes.size();
  bool is_in_scan = false;
  while (p && p + 1 < end) {
    if (p[0] != 0xFF || p[1] == 0xFF) {
      p = static_cast<const uint8_t*>(std::memchr(p + 1, 0xFF, static_cast<size_t>(end - p - 1)));
      continue;
    }
    const uint8_t marker = p[1];
    p += 2;
    if (marker == 0xD9) return "";
    const bool is_bare = marker == 0 || marker == 1 || (marker >= 0xD0 && marker <= 0xD7);
    if (is_bare || (is_in_scan && marker == 0xD8)) continue;  // a stuffed byte, a restart
    if (end - p < 2) break;
    const size_t length = big_endian(p, 2);
    if (length < 2 || length > static_cast<size_t>(end - p)) break;
    if (marker == 0xC4 && !are_tables_sound({p + 2, length - 2}))
      return "a Huffman table is too long";
    p += length;
    is_in_scan |= marker == 0xDA;
  }
  return str("ends at byte ", bytes.size(), ", before its end-of-image marker");
}

size_t little_endian(const uint8_t* p, int bytes) {
  size_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) value = value << 8 | p[i];
  return value;
}

/// Where the pixels of a binary PNM begin: behind "P6", three numbers and one white space, with
/// comments from # to the end of a line.
size_t pnm_header_bytes(std::span<const uint8_t> bytes) {
  size_t at = 2;
  for (int numbers = 0; numbers < 3 && at < bytes.size(); ++numbers) {
    while (at < bytes.size() && (std::isspace(bytes[at]) || bytes[at] == '#')) {
      const bool is_comment = bytes[at] == '#';
      while (is_comment && at < bytes.size() && bytes[at] != '\n') ++at;
      ++at;
    }
    while (at < bytes.size() && std::isdigit(bytes[at])) ++at;
  }
  return at + 1;
}

/// Bytes that a PNM or BMP of these extents must have. stb_image fills what is missing with
/// whatever was in memory.
size_t bytes_expected(std::span<const uint8_t> bytes, int64_t height, int64_t width, int channels,
                      int bytes_per_value) {
  if (bytes[0] == 'P') {
    return pnm_header_bytes(bytes) +
           static_cast<size_t>(height * width * channels * bytes_per_value);
  }
  constexpr size_t kOffset = 10, kHeaderSize = 14, kShortest = 30;
  if (bytes.size() < kShortest) return kShortest;
  const bool is_os2 = little_endian(bytes.data() + kHeaderSize, 4) == 12;
  const size_t bits = little_endian(bytes.data() + (is_os2 ? 24 : 28), 2);
  const size_t row = (static_cast<size_t>(width) * bits + 31) / 32 * 4;
  return little_endian(bytes.data() + kOffset, 4) + row * static_cast<size_t>(height);
}

class StbDecoder final : public ImageDecoder {
 public:
  StbDecoder(std::span<const uint8_t> bytes, const DecodeOptions& options)
      : bytes_(bytes),
        path_(options.path),
        kind_(is_png(bytes)    ? "PNG"
              : is_jpeg(bytes) ? "JPEG"
                               : "image") {
    if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
      throw DamagedImage(path_, "is larger than 2 GiB");
    }
    const std::string error = is_png(bytes)    ? png_error(bytes)
                              : is_jpeg(bytes) ? jpeg_error(bytes)
                                               : "";
    if (!error.empty()) throw DamagedImage(path_, str("is a damaged ", kind_, ": ", error));
    int width = 0, height = 0, channels = 0;
    if (!stbi_info_from_memory(bytes.data(), length(), &width, &height, &channels)) fail();
    check_decoded_size(path_, height, width);
    size_ = {options.channels, height, width};
    if (!is_other(bytes)) return;
    const int bytes_per_value = stbi_is_16_bit_from_memory(bytes.data(), length()) ? 2 : 1;
    const size_t expected = bytes_expected(bytes, height, width, channels, bytes_per_value);
    if (bytes.size() >= expected) return;
    throw DamagedImage(
        path_, str("is truncated: expected at least ", expected, " bytes, got ", bytes.size()));
  }

  /// All of the image, whatever the region.
  Box decode(const Box&, Image& image) override {
    image.resize(size_);
    int width = 0, height = 0, channels = 0;
    // 16-bit grey is clipped as PIL does; of 16-bit colours stb_image keeps the high byte, as PIL.
    if (stbi_is_16_bit_from_memory(bytes_.data(), length())) {
      const Pixels<stbi_us> deep(
          stbi_load_16_from_memory(bytes_.data(), length(), &width, &height, &channels, 0));
      if (!deep) fail();
      if (channels == 1) return convert(deep.get(), channels, clipped, image);
      return convert(deep.get(), channels, high_byte, image);
    }
    const Pixels<stbi_uc> pixels(
        stbi_load_from_memory(bytes_.data(), length(), &width, &height, &channels, 0));
    if (!pixels) fail();
    return convert(pixels.get(), channels, as_it_is, image);
  }

 private:
  struct Free {
    void operator()(void* p) const { stbi_image_free(p); }
  };
  template <class T>
  using Pixels = std::unique_ptr<T[], Free>;

  static uint8_t clipped(stbi_us x) { return static_cast<uint8_t>(std::min<int>(x, 255)); }
  static uint8_t high_byte(stbi_us x) { return static_cast<uint8_t>(x >> 8); }
  static uint8_t as_it_is(stbi_uc x) { return x; }

  /// From 1 (grey), 2 (with alpha), 3 (RGB) or 4 (with alpha) channels.
  template <class T>
  Box convert(const T* from, int channels, uint8_t (*byte)(T), Image& image) const {
    uint8_t* out = image.pixels.data();
    const bool is_grey = channels < 3;
    for (int64_t i = 0; i < size_.height * size_.width; ++i, from += channels) {
      const uint8_t r = byte(from[0]), g = is_grey ? r : byte(from[1]),
                    b = is_grey ? r : byte(from[2]);
      if (size_.channels == 1) {
        *out++ = is_grey ? r : luma(r, g, b);
      } else {
        *out++ = r;
        *out++ = g;
        *out++ = b;
      }
    }
    return whole(size_);
  }

  int length() const { return static_cast<int>(bytes_.size()); }
  [[noreturn]] void fail() const {
    throw DamagedImage(path_, str("is a damaged ", kind_, ": ", stbi_failure_reason()));
  }

  std::span<const uint8_t> bytes_;
  std::string path_, kind_;
};

const RegisteredDecoder registered({
    .name = "stb",
    .reads =
        [](std::span<const uint8_t> bytes) {
          return is_png(bytes) || is_jpeg(bytes) || is_other(bytes);
        },
    .open = [](std::span<const uint8_t> bytes, const DecodeOptions& options)
        -> std::unique_ptr<ImageDecoder> { return std::make_unique<StbDecoder>(bytes, options); },
});

}  // namespace
}  // namespace vtrain
