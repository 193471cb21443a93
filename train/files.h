#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace vtrain {

/// The whole file. Throws IoError "path: reason".
std::string read_file(const std::filesystem::path& path);

/// A file that only grows; it is made if it is not there. What was appended survives the death of
/// the process, not of the machine (no sync). Throws IoError "path: reason".
class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) noexcept;

  void append(std::string_view bytes);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;  // -1 only after a move
};

}  // namespace vtrain
