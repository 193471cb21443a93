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

TEST_CASE("files: a file is replaced as a whole, and no temporary file stays beside it") {
  const TemporaryFolder folder;
  const fs::path file = folder / "x.txt";
  write_file(file, "a longer first text");
  write_file(file, std::string("b\0c\n", 4));
  CHECK(read_file(file) == std::string("b\0c\n", 4));
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("files: what cannot be written or read is named with the system's reason") {
  const TemporaryFolder folder;
  const fs::path file = folder / "missing/x.txt";
  const std::string message = file.string() + ": No such file or directory";
  CHECK_THROWS_WITH_AS(write_file(file, ""), message.c_str(), IoError);
  CHECK_THROWS_WITH_AS(read_file(file), message.c_str(), IoError);
  CHECK_THROWS_WITH_AS(AppendFile{file}, message.c_str(), IoError);
}

// A limit on the size of files stands for a full disk; in a child, since it cannot be taken back.
TEST_CASE("files: a write that does not fit is an IoError and leaves the former content") {
  const TemporaryFolder folder;
  const fs::path file = folder / "x.txt";
  write_file(file, "before");
  const pid_t child = fork();
  if (child == 0) {
    const InterruptGuard guard;  // ignores SIGXFSZ
    const rlimit limit = {100, 100};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(file, std::string(1000, 'x'));
    } catch (const IoError& error) {
      const std::string message = error.what();
      _exit(message == file.string() + ": File too large" ? static_cast<int>(error.code()) : 1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == static_cast<int>(ExitCode::kEnvironment));
  CHECK(read_file(file) == "before");
  CHECK_FALSE(fs::exists(file.string() + ".tmp"));
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
