#include "tensor/zip.h"

#include <zlib.h>

#include <bit>
#include <cstring>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they lie there");

// PKWARE's APPNOTE.TXT 4.3: signatures and sizes of the fixed parts of the records.
constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50,
                   kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50,
                   kEnd64LocatorSignature = 0x07064b50;
constexpr uint64_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56,
                   kEnd64LocatorSize = 20, kMaxComment = 65535;
constexpr uint16_t kStored = 0, kDeflated = 8, kZip64Field = 1;

template <class T>
T number_at(std::string_view bytes, uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

void ZipArchive::fail(const std::string& what) const {
  throw CheckpointError(str(name_, ": the zip archive is damaged: ", what));
}

bool ZipArchive::looks_like(std::string_view bytes) {
  return bytes.size() >= 4 && number_at<uint32_t>(bytes, 0) == kLocalSignature;
}

ZipArchive::ZipArchive(std::string_view bytes, std::string name)
    : bytes_(bytes), name_(std::move(name)) {
  const auto fits = [&](uint64_t at, uint64_t size) {
    return size <= bytes_.size() && at <= bytes_.size() - size;
  };
  // The end record is searched from the back: a comment of any length may follow it.
  if (!fits(0, kEndSize)) fail("it is too short");
  uint64_t end = bytes_.size() - kEndSize;
  const uint64_t last = end > kMaxComment ? end - kMaxComment : 0;
  while (number_at<uint32_t>(bytes_, end) != kEndSignature) {
    if (end == last) fail("its directory is missing; was it cut off?");
    --end;
  }
  uint64_t count = number_at<uint16_t>(bytes_, end + 10),
           at = number_at<uint32_t>(bytes_, end + 16);
  if (end >= kEnd64LocatorSize &&
      number_at<uint32_t>(bytes_, end - kEnd64LocatorSize) == kEnd64LocatorSignature) {
    const uint64_t end64 = number_at<uint64_t>(bytes_, end - kEnd64LocatorSize + 8);
    if (!fits(end64, kEnd64Size) || number_at<uint32_t>(bytes_, end64) != kEnd64Signature)
      fail("its zip64 record is not where it should be");
    count = number_at<uint64_t>(bytes_, end64 + 32);
    at = number_at<uint64_t>(bytes_, end64 + 48);
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (!fits(at, kCentralSize) || number_at<uint32_t>(bytes_, at) != kCentralSignature)
      fail(str("directory entry ", i, " is not where it should be"));
    Entry entry{.method = number_at<uint16_t>(bytes_, at + 10),
                .crc = number_at<uint32_t>(bytes_, at + 16),
                .compressed = number_at<uint32_t>(bytes_, at + 20),
                .size = number_at<uint32_t>(bytes_, at + 24),
                .header = number_at<uint32_t>(bytes_, at + 42)};
    const uint64_t name_size = number_at<uint16_t>(bytes_, at + 28),
                   extra_size = number_at<uint16_t>(bytes_, at + 30),
                   comment_size = number_at<uint16_t>(bytes_, at + 32);
    if (!fits(at, kCentralSize + name_size + extra_size + comment_size))
      fail(str("directory entry ", i, " is cut off"));
    const std::string entry_name(bytes_.substr(at + kCentralSize, name_size));
    // Sizes that do not fit 32 bits stand in the extra field, in this order.
    std::string_view extra = bytes_.substr(at + kCentralSize + name_size, extra_size);
    while (extra.size() >= 4) {
      const auto id = number_at<uint16_t>(extra, 0);
      const uint64_t size = number_at<uint16_t>(extra, 2);
      if (size > extra.size() - 4) break;
      std::string_view field = extra.substr(4, size);
      for (uint64_t* const value : {&entry.size, &entry.compressed, &entry.header}) {
        if (id != kZip64Field || *value != UINT32_MAX || field.size() < 8) continue;
        *value = number_at<uint64_t>(field, 0);
        field.remove_prefix(8);
      }
      extra.remove_prefix(4 + size);
    }
    entries_[entry_name] = entry;
    at += kCentralSize + name_size + extra_size + comment_size;
  }
}

std::vector<std::string> ZipArchive::names() const {
  std::vector<std::string> all;
  for (const auto& [name, entry] : entries_) all.push_back(name);
  return all;
}

std::string ZipArchive::read(const std::string& entry_name) const {
  const auto found = entries_.find(entry_name);
  if (found == entries_.end()) fail(str("it has no entry ", entry_name));
  const Entry& entry = found->second;
  if (bytes_.size() < kLocalSize || entry.header > bytes_.size() - kLocalSize ||
      number_at<uint32_t>(bytes_, entry.header) != kLocalSignature)
    fail(str("entry ", entry_name, " is not where its directory says"));
  const uint64_t start = entry.header + kLocalSize +
                         number_at<uint16_t>(bytes_, entry.header + 26) +
                         number_at<uint16_t>(bytes_, entry.header + 28);
  if (start > bytes_.size() || entry.compressed > bytes_.size() - start)
    fail(str("entry ", entry_name, " is cut off"));
  const std::string_view packed = bytes_.substr(start, entry.compressed);
  std::string plain;
  if (entry.method == kStored) {
    if (entry.size != entry.compressed) fail(str("entry ", entry_name, ": its two sizes differ"));
    plain = packed;
  } else if (entry.method == kDeflated) {
    // No deflate stream shrinks by more than 1032 to 1: a larger claim would only eat memory.
    if (entry.size / 1032 > entry.compressed)
      fail(str("entry ", entry_name, ": its size is false"));
    plain.resize(entry.size);
    z_stream stream{};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error("zlib has no memory");
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(plain.data());
    stream.avail_out = static_cast<uInt>(plain.size());
    const bool fits_in_one_call = packed.size() <= UINT32_MAX && plain.size() <= UINT32_MAX;
    const int status = fits_in_one_call ? inflate(&stream, Z_FINISH) : Z_DATA_ERROR;
    const uint64_t written = stream.total_out;
    inflateEnd(&stream);
    if (status != Z_STREAM_END || written != entry.size)
      fail(str("entry ", entry_name, " cannot be inflated"));
  } else {
    fail(str("entry ", entry_name, " is packed by method ", entry.method,
             "; expected stored or deflated"));
  }
  if (crc32_z(0, reinterpret_cast<const Bytef*>(plain.data()), plain.size()) != entry.crc)
    fail(str("entry ", entry_name, ": its checksum does not fit its bytes"));
  return plain;
}

}  // namespace vtrain
