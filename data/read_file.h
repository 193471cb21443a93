#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vtrain {

/// The whole content. Throws DataError "path: cannot read: reason; hint" if it is no regular file
/// or cannot be read.
std::vector<uint8_t> read_file(const std::string& path, const std::string& hint = "");

/// A file that is read in pieces, by several threads at once.
class RandomAccessFile {
 public:
  /// Throws DataError as read_file does.
  explicit RandomAccessFile(const std::string& path, const std::string& hint = "");
  ~RandomAccessFile();
  RandomAccessFile(RandomAccessFile&& other) noexcept;
  RandomAccessFile(const RandomAccessFile&) = delete;
  RandomAccessFile& operator=(const RandomAccessFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  /// Fills `bytes` from `offset` on; returns how many there were. Throws DataError if the system
  /// cannot read them.
  int64_t read(int64_t offset, uint8_t* bytes, int64_t count) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace vtrain
