#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/image.h"

namespace vtrain {

/// An image file in memory whose header has been read and whose pixels have not.
///
/// Pixels are what PIL's Image.open(...).convert("RGB") gives, which is torchvision's loader: alpha
/// is dropped, not blended; palettes are looked up; CMYK is taken as Adobe writes it, inverted;
/// 16-bit grey is clipped at 255, 16-bit colour keeps its high byte; the orientation that a camera
/// wrote is ignored. One channel is PIL's convert("L").
class ImageDecoder {
 public:
  virtual ~ImageDecoder() = default;
  /// With the channels asked for, not those of the file.
  const ImageSize& size() const { return size_; }
  /// Decodes at least the pixels of `region` (not empty, inside the image) into `image`, and
  /// returns which it did: the image's rectangle that `image` now holds. They are the same pixels
  /// whatever the region. The file is read to its end, so that damage is found wherever it is. May
  /// be called once. Throws DamagedImage.
  virtual Box decode(const Box& region, Image& image) = 0;

 protected:
  ImageSize size_;
};

struct DecodeOptions {
  std::string_view path = {};     // for messages
  int64_t channels = 3;           // 3: RGB, 1: grey
  std::string_view decoder = {};  // by name; "": the first that reads the format
};

/// Opens an image file that is in memory; `bytes` must outlive the decoder. The format is told from
/// the content, not from the name. Throws DamagedImage naming path and reason, and DataError if
/// there is no decoder of that name.
std::unique_ptr<ImageDecoder> open_image(std::span<const uint8_t> bytes,
                                         const DecodeOptions& options);
/// All of it.
Image decode_image(std::span<const uint8_t> bytes, const DecodeOptions& options);

/// Whether a file name ends as those of images do: torchvision's IMG_EXTENSIONS, in any case.
bool has_image_name(std::string_view path);

/// Refuses an image that no memory would hold, as PIL does: more than 2^28 * 2 / 3 pixels. For
/// decoders. Throws DamagedImage.
void check_decoded_size(std::string_view path, int64_t height, int64_t width);

struct DecoderEntry {
  std::string name;
  bool (*reads)(std::span<const uint8_t> bytes) = nullptr;  // by the first bytes
  std::unique_ptr<ImageDecoder> (*open)(std::span<const uint8_t> bytes,
                                        const DecodeOptions& options) = nullptr;
};

/// A namespace-scope constant of this type adds a decoder. They are asked in order of their names.
class RegisteredDecoder {
 public:
  explicit RegisteredDecoder(const DecoderEntry& entry,
                             const std::string& source_file = __builtin_FILE());
};
std::vector<std::string> registered_decoders();

}  // namespace vtrain
