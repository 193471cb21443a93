#include "data/decode.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "tensor/registry.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

// Filled by static initialisers, so it must exist before the first of them runs.
Registry<DecoderEntry>& registry() {
  static Registry<DecoderEntry> entries;
  return entries;
}

/// What a file is that no decoder reads.
std::string describe(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return "the file is empty";
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<size_t>(bytes.size(), 12));
  const char* const known = start.starts_with("RIFF") && start.ends_with("WEBP")  ? "WebP"
                            : start.starts_with("II*") || start.starts_with("MM") ? "TIFF"
                            : start.starts_with("GIF8")                           ? "GIF"
                                                                                  : nullptr;
  if (known) return str("is a ", known, " image, which is not read; convert it to JPEG or PNG");
  return "is no image: expected JPEG, PNG, BMP or PNM";
}

}  // namespace

RegisteredDecoder::RegisteredDecoder(const DecoderEntry& entry, const std::string& source_file) {
  registry().add(entry.name, entry, tree_path(source_file));
}

std::vector<std::string> registered_decoders() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : registry().entries()) names.push_back(name);
  return names;
}

std::unique_ptr<ImageDecoder> open_image(std::span<const uint8_t> bytes,
                                         const DecodeOptions& options) {
  bool is_known = options.decoder.empty();
  for (const auto& [name, entry] : registry().entries()) {
    if (!options.decoder.empty() && name != options.decoder) continue;
    is_known = true;
    if (entry.first.reads(bytes)) return entry.first.open(bytes, options);
  }
  if (!is_known) throw DataError(str("no image decoder is called ", options.decoder));
  throw DamagedImage(std::string(options.path), describe(bytes));
}

Image decode_image(std::span<const uint8_t> bytes, const DecodeOptions& options) {
  const std::unique_ptr<ImageDecoder> decoder = open_image(bytes, options);
  Image image;
  decoder->decode(whole(decoder->size()), image);
  return image;
}

bool has_image_name(std::string_view path) {
  constexpr std::array<std::string_view, 9> kEnds = {".jpg", ".jpeg", ".png",  ".ppm", ".bmp",
                                                     ".pgm", ".tif",  ".tiff", ".webp"};
  std::string lower(path.substr(path.size() - std::min<size_t>(path.size(), 5)));
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::any_of(kEnds, [&](std::string_view end) { return lower.ends_with(end); });
}

void check_decoded_size(std::string_view path, int64_t height, int64_t width) {
  constexpr int64_t kMostPixels = (int64_t{1} << 29) / 3;
  if (height < 1 || width < 1 || height > kMostPixels / width) {
    throw DamagedImage(std::string(path), str("its header says ", width, " x ", height,
                                              " pixels, which is more than is believable"));
  }
}

}  // namespace vtrain
