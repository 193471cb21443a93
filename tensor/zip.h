#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vtrain {

/// The entries of a zip archive that lies in memory, zip64 included; stored and deflated ones are
/// read. Every offset is checked. Throws CheckpointError "name: ...".
class ZipArchive {
 public:
  /// `bytes` must outlive the archive; `name` stands in messages.
  ZipArchive(std::string_view bytes, std::string name);

  static bool looks_like(std::string_view bytes);  // begins as a zip file does

  /// Entry names, sorted.
  std::vector<std::string> names() const;
  bool contains(const std::string& entry) const { return entries_.contains(entry); }
  /// Its bytes, inflated and compared with their CRC-32.
  std::string read(const std::string& entry) const;

 private:
  struct Entry {
    uint16_t method = 0;
    uint32_t crc = 0;
    uint64_t compressed = 0, size = 0, header = 0;
  };
  [[noreturn]] void fail(const std::string& what) const;

  std::string_view bytes_;
  std::string name_;
  std::map<std::string, Entry> entries_;
};

}  // namespace vtrain
