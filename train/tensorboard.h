#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "train/files.h"

namespace vtrain {

/// Scalars for TensorBoard: a folder with one event file per writer, which TensorBoard reads as one
/// run. After a resume a new writer adds a file whose first event tells TensorBoard to forget the
/// steps from there on.
///
/// An event file is a row of records (TFRecord): length u64, masked CRC-32C of the length u32,
/// payload, masked CRC-32C of the payload u32, all little-endian. A payload is a protobuf message
/// Event (tensorflow/core/util/event.proto).
class EventWriter {
 public:
  /// Makes `folder` if need be, and the file in it. `first_step`: where this writer begins, > 0
  /// after a resume. Throws IoError.
  explicit EventWriter(const std::filesystem::path& folder, int64_t first_step = 0);

  void scalar(std::string_view tag, int64_t step,
              double value);  // written as f32, TensorBoard's type
  const std::filesystem::path& file() const { return file_.path(); }

 private:
  AppendFile file_;
};

/// CRC-32C (Castagnoli) of bytes, RFC 3720 B.4: of "123456789" it is 0xE3069283.
uint32_t crc32c(std::string_view bytes);
/// As records store it: rotated and shifted, so that the CRC of data that holds CRCs stays sound.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace vtrain
