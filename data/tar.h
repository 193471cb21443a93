#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/read_file.h"

namespace vtrain {

struct TarEntry {
  std::string path;  // "./" at its front is left out
  bool is_folder = false;
  int64_t offset = 0, bytes = 0;  // of the content in the archive
};

/// The files and folders of a tar archive in its order: ustar with GNU's long names and numbers and
/// with pax headers (POSIX.1-2001); links and devices are left out. Reads the headers and skips the
/// contents. Throws DataError, with path and byte, for an archive that is compressed, whose headers
/// do not have the checksum they say, or that lacks the two zero blocks at its end: one that was
/// cut between two files would otherwise pass for a smaller one.
std::vector<TarEntry> read_tar_index(const RandomAccessFile& file);

}  // namespace vtrain
