#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/error.h"

namespace vtrain {

struct ImageSize {
  int64_t channels = 1, height = 28, width = 28;
  int64_t numel() const { return channels * height * width; }
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

/// Rows [top, bottom), columns [left, right).
struct Box {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  int64_t height() const { return bottom - top; }
  int64_t width() const { return right - left; }
  int64_t area() const { return height() * width(); }
  friend bool operator==(const Box&, const Box&) = default;
};
inline Box whole(const ImageSize& size) { return {0, 0, size.height, size.width}; }

/// Pixels in memory: (height, width, channels) bytes, 1 channel for grey and 3 for RGB.
struct Image {
  ImageSize size{.channels = 0, .height = 0, .width = 0};
  std::vector<uint8_t> pixels;

  /// Room for `new_size`; what the pixels are is then undefined. Memory is kept, so that an image
  /// used again and again stops allocating.
  void resize(const ImageSize& new_size) {
    size = new_size;
    pixels.resize(static_cast<size_t>(size.numel()));
  }
  uint8_t* row(int64_t y) { return pixels.data() + y * size.width * size.channels; }
  const uint8_t* row(int64_t y) const { return pixels.data() + y * size.width * size.channels; }
};

/// Grey of a colour, as PIL's convert("L"): ITU-R 601 luma with weights of 16 bits.
inline uint8_t luma(int r, int g, int b) {
  return static_cast<uint8_t>((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

/// A file that is no image that can be read: truncated, damaged, unreadable, of an unknown format.
/// Such a file may be skipped (data.max_bad); other DataErrors end a run.
class DamagedImage : public DataError {
 public:
  DamagedImage(const std::string& path, const std::string& reason)
      : DataError(path + ": " + reason) {}
};

}  // namespace vtrain
