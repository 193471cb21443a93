#include "tests/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

const char* const kVtrain = VTRAIN_BINARY_DIR "/vtrain";

pid_t start(const std::string& program, const std::vector<std::string>& arguments,
            const ProcessOptions& options, const std::string& output, const std::string& errors) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child > 0) return child;
  // In the child: only calls that are safe between fork and exec, plus putenv on our own copy.
  dup2(open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
  dup2(open(errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
  for (const std::string& variable : options.environment)
    putenv(const_cast<char*>(variable.c_str()));
  if (options.file_size_limit >= 0) {
    const rlimit limit{static_cast<rlim_t>(options.file_size_limit),
                       static_cast<rlim_t>(options.file_size_limit)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execv(program.c_str(), argv.data());
  _exit(127);
}

int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

ProcessResult run_vtrain(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  return run_program(kVtrain, arguments, options);
}

ProcessResult run_program(const std::string& program, const std::vector<std::string>& arguments,
                          const ProcessOptions& options) {
  const TemporaryFolder folder;
  const pid_t child = start(program, arguments, options, folder / "out", folder / "err");
  int status = 0;
  waitpid(child, &status, 0);
  return {exit_code_of(status), file_content(folder / "out"), file_content(folder / "err")};
}

ProcessResult run_vtrain_until(const std::vector<std::string>& arguments,
                               const std::function<bool()>& is_time, int signal) {
  const TemporaryFolder folder;
  const pid_t child = start(kVtrain, arguments, {}, folder / "out", folder / "err");
  int status = 0;
  bool is_sent = false;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (!is_sent && is_time()) {
      kill(child, signal);
      is_sent = true;
    }
    usleep(2000);
  }
  return {exit_code_of(status), file_content(folder / "out"), file_content(folder / "err")};
}

std::filesystem::path only_run(const std::filesystem::path& out) {
  for (const auto& entry : std::filesystem::directory_iterator(out)) {
    if (!entry.is_symlink()) return entry.path();
  }
  return {};
}

int64_t newest_step(const std::filesystem::path& out) {
  std::error_code error;
  if (!std::filesystem::exists(out, error)) return -1;
  const std::filesystem::path run = only_run(out);
  const std::filesystem::path last = std::filesystem::read_symlink(run / "ckpt" / "last", error);
  return error ? -1 : std::stoll(last.string().substr(5));
}

}  // namespace vtrain
