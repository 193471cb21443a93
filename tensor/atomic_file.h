#pragma once

#include <string>
#include <string_view>

namespace vtrain {

/// A file that appears under its name whole or not at all. Bytes go to a temporary file beside it;
/// `commit` syncs that file, renames it over `path` and syncs the folder. Without a commit the
/// destructor removes the temporary file, and what was at `path` before is untouched. A process
/// that is killed leaves a file `path.tmp-<pid>-<n>` behind, never a damaged `path`.
///
/// Every failure is an IoError "path: what: reason". A process that wants one instead of a signal
/// when it exceeds RLIMIT_FSIZE ignores SIGXFSZ.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;  // with errno's text

  std::string path_, temporary_;
  int fd_ = -1;
  bool exists_ = false;  // the temporary file does
};

void write_file_atomically(const std::string& path, std::string_view bytes);

}  // namespace vtrain
