#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace vtrain {

/// How a program ended and what it said.
struct ProcessResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string output, errors;
};

struct ProcessOptions {
  int64_t file_size_limit = -1;               // RLIMIT_FSIZE in bytes; -1: none
  std::vector<std::string> environment = {};  // "NAME=value", added
};

/// Runs build/vtrain with these arguments to its end.
ProcessResult run_vtrain(const std::vector<std::string>& arguments,
                         const ProcessOptions& options = {});

/// The same for the program at that path.
ProcessResult run_program(const std::string& program, const std::vector<std::string>& arguments,
                          const ProcessOptions& options = {});

/// Starts build/vtrain, asks `is_time` every few milliseconds, and sends `signal` once it says so.
/// Returns when the program has ended; `exit_code` tells whether the signal did it.
ProcessResult run_vtrain_until(const std::vector<std::string>& arguments,
                               const std::function<bool()>& is_time, int signal);

/// The one run below an `out.dir`, and the newest step it has saved; -1: none.
std::filesystem::path only_run(const std::filesystem::path& out);
int64_t newest_step(const std::filesystem::path& out);

}  // namespace vtrain
