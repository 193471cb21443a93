#include "data/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& reason,
                         const std::string& hint = "") {
  throw DataError(str(path, ": cannot read: ", reason, hint.empty() ? "" : "; ", hint));
}

}  // namespace

RandomAccessFile::RandomAccessFile(const std::string& path, const std::string& hint)
    : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) refuse(path, std::strerror(errno), hint);
  struct stat status {};
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    refuse(path, "is not a file", hint);
  }
  size_ = status.st_size;
}

RandomAccessFile::~RandomAccessFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

RandomAccessFile::RandomAccessFile(RandomAccessFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

int64_t RandomAccessFile::read(int64_t offset, uint8_t* bytes, int64_t count) const {
  int64_t done = 0;
  while (done < count) {
    const ssize_t got = pread(descriptor_, bytes + done, static_cast<size_t>(count - done),
                              static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(path_, std::strerror(errno));
    if (got == 0) break;
    done += got;
  }
  return done;
}

std::vector<uint8_t> read_file(const std::string& path, const std::string& hint) {
  const RandomAccessFile file(path, hint);
  std::vector<uint8_t> bytes(static_cast<size_t>(file.size()));
  const int64_t got = file.read(0, bytes.data(), file.size());
  if (got != file.size()) refuse(path, str("got ", got, " of ", file.size(), " bytes"));
  return bytes;
}

}  // namespace vtrain
