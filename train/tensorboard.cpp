#include "train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <system_error>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

// Little-endian, as the format is; vtrain runs on x86 only.
template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7U) bytes += static_cast<char>(value | 0x80U);
  return bytes + static_cast<char>(value);
}

/// A protobuf field: its key (number and wire type), then its content.
enum class Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
std::string key(uint32_t number, Wire wire) {
  return varint((number << 3U) | static_cast<uint32_t>(wire));
}
std::string field(uint32_t number, int64_t value) {
  return key(number, Wire::kVarint) + varint(static_cast<uint64_t>(value));
}
std::string field(uint32_t number, double value) {
  return key(number, Wire::kFixed64) + bytes_of(value);
}
std::string field(uint32_t number, float value) {
  return key(number, Wire::kFixed32) + bytes_of(value);
}
std::string field(uint32_t number, std::string_view content) {
  return key(number, Wire::kBytes) + varint(content.size()) + std::string(content);
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7.
std::string event(int64_t step, const std::string& what) {
  return field(1, now()) + field(2, step) + what;
}
std::string file_version() { return field(3, std::string_view("brain.Event:2")); }
// SessionLog: status 1, of which START is 1: events of this step and later in earlier files are
// void.
std::string session_start() { return field(7, field(1, int64_t{1})); }
// Summary: value 1. Summary.Value: tag 1, simple_value 2.
std::string summary(std::string_view tag, double value) {
  return field(5, field(1, field(1, tag) + field(2, static_cast<float>(value))));
}

std::string record(const std::string& payload) {
  const std::string length = bytes_of(static_cast<uint64_t>(payload.size()));
  return length + bytes_of(masked_crc32c(length)) + payload + bytes_of(masked_crc32c(payload));
}

/// TensorBoard takes files with "tfevents" in their names, in the order of the names; those begin
/// with the time, so a file of a resumed run comes behind the earlier ones.
std::filesystem::path new_file(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw IoError(str(folder.string(), ": ", error.message()));
  const auto seconds = static_cast<int64_t>(now());
  std::filesystem::path file;
  int number = 0;
  do {
    file = folder / str("events.out.tfevents.", seconds, ".vtrain.", ::getpid(), '.', number++);
  } while (std::filesystem::exists(file));
  return file;
}

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table = {};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) {
    crc = (crc >> 8U) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU];
  }
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15U) | (crc << 17U)) + 0xA282EAD8U;
}

EventWriter::EventWriter(const std::filesystem::path& folder, int64_t first_step)
    : file_(new_file(folder)) {
  file_.append(record(event(0, file_version())));
  if (first_step > 0) file_.append(record(event(first_step, session_start())));
}

void EventWriter::scalar(std::string_view tag, int64_t step, double value) {
  file_.append(record(event(step, summary(tag, value))));
}

}  // namespace vtrain
