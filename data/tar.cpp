#include "data/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

constexpr int64_t kBlock = 512;
using Block = std::array<uint8_t, kBlock>;

/// A field of text, which ends at its first zero byte if it has one.
std::string text(const Block& block, size_t at, size_t length) {
  const char* const begin = reinterpret_cast<const char*>(block.data()) + at;
  return {begin, std::find(begin, begin + length, '\0')};
}

/// An octal number, or GNU's base 256, whose first byte has the high bit set. nullopt: neither.
std::optional<int64_t> number(const Block& block, size_t at, size_t length) {
  if (block[at] & 0x80) {
    int64_t value = block[at] & 0x3F;
    for (size_t i = 1; i < length; ++i) {
      if (value >> 54 != 0) return std::nullopt;
      value = value << 8 | block[at + i];
    }
    return value;
  }
  std::string digits = text(block, at, length);
  digits.erase(0, std::min(digits.find_first_not_of(' '), digits.size()));
  digits.erase(std::min(digits.find_first_of(' '), digits.size()));
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, /*base=*/8);
  if (!digits.empty() && (error != std::errc() || end != digits.data() + digits.size())) {
    return std::nullopt;
  }
  return value;
}

bool has_right_checksum(const Block& block) {
  constexpr size_t kAt = 148, kLength = 8;
  int64_t sum = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    sum += i >= kAt && i < kAt + kLength ? ' ' : block.at(i);
  }
  return number(block, kAt, kLength) == sum;
}

class IndexReader {
 public:
  explicit IndexReader(const RandomAccessFile& file) : file_(file) {}

  std::vector<TarEntry> read() {
    std::vector<TarEntry> entries;
    Block block;
    for (at_ = 0; next_header(block);) {
      const std::optional<int64_t> bytes = number(block, 124, 12);
      if (!bytes || *bytes < 0) fail("the header has no size");
      const char type = static_cast<char>(block[156]);
      const int64_t header = at_;
      at_ += kBlock;
      switch (type) {
        case 'L':
          long_path_ = content(*bytes);
          long_path_.erase(std::min(long_path_.find('\0'), long_path_.size()));
          break;
        case 'x':
          read_pax(content(*bytes));
          break;
        case 'g':  // of the whole archive: comments, times
        case 'K':  // the long name of a link's target
          content(*bytes);
          break;
        default: {
          TarEntry entry = take_entry(block, *bytes);
          const int64_t left = file_.size() - entry.offset;
          if (entry.bytes > left) {
            at_ = header;
            fail(str(entry.path, " is cut off: the archive is truncated, expected ", entry.bytes,
                     " bytes of content, got ", left));
          }
          skip(entry.bytes);
          const bool is_file = type == '0' || type == '\0' || type == '7';
          if (is_file || entry.is_folder) entries.push_back(std::move(entry));
        }
      }
    }
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(str(file_.path(), ": at byte ", at_, ": ", what));
  }

  /// False at the end of the archive.
  bool next_header(Block& block) {
    read_block(block);
    if (std::ranges::all_of(block, [](uint8_t b) { return b == 0; })) {
      at_ += kBlock;
      read_block(block);
      if (!std::ranges::all_of(block, [](uint8_t b) { return b == 0; })) {
        fail("expected the second zero block of the archive's end");
      }
      return false;
    }
    if (has_right_checksum(block)) return true;
    if (at_ > 0) fail("the header is damaged: its checksum is wrong");
    const bool is_gzip = block[0] == 0x1F && block[1] == 0x8B;
    fail(is_gzip ? "is compressed; unpack it to a plain .tar, so that images can be read at random"
                 : "is no tar archive");
  }

  void read_block(Block& block) const {
    if (file_.read(at_, block.data(), kBlock) == kBlock) return;
    fail("the archive is truncated: expected a header or the two zero blocks of its end");
  }

  void skip(int64_t bytes) { at_ += (bytes + kBlock - 1) / kBlock * kBlock; }

  std::string content(int64_t bytes) {
    constexpr int64_t kMost = 1 << 20;  // a name or some attributes
    if (bytes > kMost) fail(str("expected a name or attributes, got ", bytes, " bytes"));
    std::string value(static_cast<size_t>(bytes), '\0');
    if (file_.read(at_, reinterpret_cast<uint8_t*>(value.data()), bytes) != bytes) {
      fail("the archive is truncated");
    }
    skip(bytes);
    return value;
  }

  /// Records "length key=value\n", the length counting all of the record.
  void read_pax(const std::string& records) {
    std::string_view rest = records;
    while (!rest.empty()) {
      size_t length = 0;
      const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
      const auto digits = static_cast<size_t>(end - rest.data());
      if (error != std::errc() || length <= digits + 1 || length > rest.size()) {
        fail("a pax header is damaged");
      }
      const std::string_view record = rest.substr(digits + 1, length - digits - 2);
      rest.remove_prefix(length);
      const size_t equals = record.find('=');
      if (equals == std::string_view::npos) fail("a pax header is damaged");
      const std::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
      if (key == "path") long_path_ = value;
      if (key != "size") continue;
      int64_t bytes = 0;
      const auto [rest_of_value, bad] =
          std::from_chars(value.data(), value.data() + value.size(), bytes);
      if (bad != std::errc() || rest_of_value != value.data() + value.size() || bytes < 0) {
        fail("a pax header is damaged");
      }
      pax_bytes_ = bytes;
    }
  }

  /// Uses up what the headers before this one said of it.
  TarEntry take_entry(const Block& block, int64_t bytes) {
    TarEntry entry;
    entry.path = std::move(long_path_);
    long_path_.clear();
    if (entry.path.empty()) {
      const bool is_ustar = text(block, 257, 5) == "ustar" && block[262] == 0;  // not GNU's
      const std::string folder = is_ustar ? text(block, 345, 155) : "";
      entry.path = str(folder, folder.empty() ? "" : "/", text(block, 0, 100));
    }
    while (entry.path.starts_with("./")) entry.path.erase(0, 2);
    entry.is_folder = block[156] == '5' || entry.path.ends_with('/');
    while (entry.path.ends_with('/')) entry.path.pop_back();
    entry.bytes = entry.is_folder ? 0 : pax_bytes_.value_or(bytes);
    pax_bytes_.reset();
    entry.offset = at_;
    return entry;
  }

  const RandomAccessFile& file_;
  int64_t at_ = 0;
  std::string long_path_;
  std::optional<int64_t> pax_bytes_;
};

}  // namespace

std::vector<TarEntry> read_tar_index(const RandomAccessFile& file) {
  return IndexReader(file).read();
}

}  // namespace vtrain
