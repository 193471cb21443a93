// JPEG through libjpeg-turbo: the door to that library. Only the rows and columns that are asked
// for go through the inverse DCT; the rest is entropy-decoded alone. Built where CMake finds the
// library; stb_image (data/decode_stb.cpp) reads JPEG elsewhere.
#include <csetjmp>
#include <cstdio>  // jpeglib.h uses FILE without declaring it
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <utility>

#include "data/decode.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// libjpeg's error manager with what we add; `base` is first, so that one pointer is both.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  char reason[JMSG_LENGTH_MAX];
};

ErrorManager& manager_of(j_common_ptr info) { return *reinterpret_cast<ErrorManager*>(info->err); }

[[noreturn]] void leave(j_common_ptr info) {
  ErrorManager& manager = manager_of(info);
  manager.base.format_message(info, manager.reason);
  std::longjmp(manager.jump, 1);
}

/// Of the warnings those mean that pixels are missing. Others, such as bytes between two markers,
/// occur in ImageNet's good files.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;  // a trace
  const int code = info->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER) leave(info);
}

/// 255 - c - k of PIL's cmyk2rgb, from inverted values: ink and black as light.
uint8_t light(int inverted_ink, int inverted_black) {
  const int product = (255 - inverted_ink) * inverted_black + 128;
  return static_cast<uint8_t>(std::max(0, inverted_black - ((product >> 8) + product) / 256));
}

/// The library returns to a setjmp on errors, past the frames between: so in the functions that
/// call it nothing with a destructor may live.
class JpegDecoder final : public ImageDecoder {
 public:
  JpegDecoder(std::span<const uint8_t> bytes, const DecodeOptions& options)
      : path_(options.path), channels_(static_cast<int>(options.channels)) {
    info_.err = jpeg_std_error(&manager_.base);
    manager_.base.error_exit = leave;
    manager_.base.emit_message = on_message;
    jpeg_create_decompress(&info_);
    if (!read_header(bytes)) fail();
    size_ = {options.channels, info_.image_height, info_.image_width};
    try {
      check_decoded_size(path_, size_.height, size_.width);
    } catch (...) {
      jpeg_destroy_decompress(&info_);
      throw;
    }
  }
  ~JpegDecoder() override { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  Box decode(const Box& region, Image& image) override {
    Box decoded = region;
    if (!begin(decoded)) throw DamagedImage(path_, reason());
    image.resize({channels_, decoded.height(), decoded.width()});
    const int stored = info_.output_components;
    std::vector<uint8_t> line(stored == channels_ ? 0
                                                  : static_cast<size_t>(decoded.width() * stored));
    if (!read_rows(decoded, image, line.empty() ? nullptr : line.data()))
      throw DamagedImage(path_, reason());
    return decoded;
  }

 private:
  [[noreturn]] void fail() {  // from the constructor, whose destructor will not run
    jpeg_destroy_decompress(&info_);
    throw DamagedImage(path_, reason());
  }
  std::string reason() const { return str("is a damaged JPEG: ", manager_.reason); }

  bool read_header(std::span<const uint8_t> bytes) {
    if (setjmp(manager_.jump)) return false;
    jpeg_mem_src(&info_, bytes.data(), static_cast<unsigned long>(bytes.size()));
    jpeg_read_header(&info_, TRUE);
    const J_COLOR_SPACE stored = info_.jpeg_color_space;
    const bool is_cmyk = stored == JCS_CMYK || stored == JCS_YCCK;
    const bool is_grey = stored == JCS_GRAYSCALE && channels_ == 1;
    info_.out_color_space = is_cmyk ? JCS_CMYK : is_grey ? JCS_GRAYSCALE : JCS_RGB;
    return true;
  }

  /// Starts, skips the rows above, and makes of `region` the columns that will come.
  bool begin(Box& region) {
    if (setjmp(manager_.jump)) return false;
    jpeg_start_decompress(&info_);
    // Chroma at the edge of a cropped row is interpolated without its neighbour: two columns more
    // on either side keep that edge outside the region. The library widens to whole blocks on the
    // left.
    constexpr int64_t kMargin = 2;
    auto left = static_cast<JDIMENSION>(std::max<int64_t>(0, region.left - kMargin));
    auto width = static_cast<JDIMENSION>(std::min(size_.width, region.right + kMargin)) - left;
    if (width < info_.output_width) jpeg_crop_scanline(&info_, &left, &width);
    region.left = left;
    region.right = region.left + info_.output_width;
    if (region.top > 0) jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(region.top));
    return true;
  }

  bool read_rows(const Box& region, Image& image, uint8_t* line) {
    if (setjmp(manager_.jump)) return false;
    const auto end = static_cast<JDIMENSION>(region.bottom);
    while (info_.output_scanline < end) {
      const int64_t y = info_.output_scanline - region.top;
      if (line) {
        jpeg_read_scanlines(&info_, &line, 1);
        convert(line, region.width(), image.row(y));
        continue;
      }
      uint8_t* rows[4];  // the most that the library makes in one go
      const auto count = static_cast<JDIMENSION>(std::min<int64_t>(4, region.height() - y));
      for (JDIMENSION i = 0; i < count; ++i) rows[i] = image.row(y + i);
      jpeg_read_scanlines(&info_, rows, count);
    }
    // Up to the last row, so that a file that ends early is found whatever the region; skipping the
    // last one too would make the library leave off where it stands.
    if (info_.output_scanline + 1 < info_.output_height) {
      jpeg_skip_scanlines(&info_, info_.output_height - 1 - info_.output_scanline);
    }
    if (info_.output_scanline < info_.output_height) {
      uint8_t* last = scrap();
      jpeg_read_scanlines(&info_, &last, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  /// Memory of the library's, for a row that nobody wants.
  uint8_t* scrap() {
    const size_t bytes =
        static_cast<size_t>(info_.output_width) * static_cast<size_t>(info_.output_components);
    return static_cast<uint8_t*>(
        (*info_.mem->alloc_large)(reinterpret_cast<j_common_ptr>(&info_), JPOOL_IMAGE, bytes));
  }

  /// From CMYK, or from RGB to grey.
  void convert(const uint8_t* from, int64_t width, uint8_t* out) const {
    const int components = info_.output_components;
    for (int64_t x = 0; x < width; ++x, from += components) {
      const bool is_cmyk = components == 4;
      const int r = is_cmyk ? light(from[0], from[3]) : from[0];
      const int g = is_cmyk ? light(from[1], from[3]) : from[1];
      const int b = is_cmyk ? light(from[2], from[3]) : from[2];
      if (channels_ == 1) {
        *out++ = luma(r, g, b);
      } else {
        *out++ = static_cast<uint8_t>(r);
        *out++ = static_cast<uint8_t>(g);
        *out++ = static_cast<uint8_t>(b);
      }
    }
  }

  std::string path_;
  int channels_;
  ErrorManager manager_{};
  jpeg_decompress_struct info_{};
};

const RegisteredDecoder registered({
    .name = "libjpeg",
    .reads =
        [](std::span<const uint8_t> bytes) {
          return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
        },
    .open = [](std::span<const uint8_t> bytes, const DecodeOptions& options)
        -> std::unique_ptr<ImageDecoder> { return std::make_unique<JpegDecoder>(bytes, options); },
});

}  // namespace
}  // namespace vtrain
