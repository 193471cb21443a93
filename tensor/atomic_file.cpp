#include "tensor/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// Process and counter keep two writers of one path, in or outside this process, from sharing a
/// temporary file.
std::string temporary_beside(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return str(path, ".tmp-", getpid(), '-', counter++);
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// A rename is durable only once the folder is on disk. File systems that cannot sync a folder say
/// EINVAL; nothing can be done there.
bool sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool synced = fsync(fd) == 0 || errno == EINVAL;
  const int reason = errno;
  close(fd);
  errno = reason;
  return synced;
}

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), temporary_(temporary_beside(path_)) {
  struct stat old {};
  // Renaming over /dev/null or a folder would do harm or fail late.
  if (stat(path_.c_str(), &old) == 0 && !S_ISREG(old.st_mode)) {
    throw IoError(str(path_, ": cannot write: it is there already and is no regular file"));
  }
  fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("cannot create a file in its folder");
  exists_ = true;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (exists_) unlink(temporary_.c_str());
}

void AtomicFile::fail(const char* what) const {
  throw IoError(str(path_, ": ", what, ": ", std::strerror(errno)));
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("cannot write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (fsync(fd_) != 0) fail("cannot sync");
  // Network file systems report a full disk only here.
  if (close(std::exchange(fd_, -1)) != 0) fail("cannot close");
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename the finished file");
  exists_ = false;
  if (!sync_folder(folder_of(path_))) fail("cannot sync its folder");
}

void write_file_atomically(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace vtrain
