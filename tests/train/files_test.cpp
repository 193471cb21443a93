#include "train/files.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iterator>
#include <utility>

#include "tensor/error.h"
#include "tests/temporary_folder.h"
#include "train/interrupt.h"

namespace vtrain {
namespace {
namespace fs = std::filesystem;

TEST_CASE("files: what cannot be written or read is named with the system's reason") {
  const TemporaryFolder folder;
  const fs::path file = folder / "missing/x.txt";
  const std::string message = file.string() + ": No such file or directory";
  CHECK_THROWS_WITH_AS(read_file(file), message.c_str(), IoError);
  CHECK_THROWS_WITH_AS(AppendFile{file}, message.c_str(), IoError);
}

TEST_CASE("files: an append file goes on where it ended, also after a move") {
  const TemporaryFolder folder;
  const fs::path file = folder / "x.txt";
  AppendFile(file).append("a");
  AppendFile first(file);
  AppendFile second = std::move(first);
  second.append("b");
  CHECK(read_file(file) == "ab");
}

}  // namespace
}  // namespace vtrain
