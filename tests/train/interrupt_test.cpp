#include "train/interrupt.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

namespace vtrain {
namespace {

/// How a child process that runs `body` ends: its exit status, or minus the signal that killed it.
template <class Body>
int status_of(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST_CASE("interrupt: SIGINT and SIGTERM are noted as the exit codes they ask for") {
  const InterruptGuard guard;
  CHECK_FALSE(guard.requested());
  SUBCASE("SIGINT") {
    raise(SIGINT);
    CHECK(guard.requested() == ExitCode::kInterrupted);
  }
  SUBCASE("SIGTERM") {
    raise(SIGTERM);
    CHECK(guard.requested() == ExitCode::kTerminated);
  }
  SUBCASE("the first one counts, and a second SIGTERM changes nothing") {
    raise(SIGINT);
    raise(SIGTERM);
    raise(SIGTERM);
    CHECK(guard.requested() == ExitCode::kInterrupted);
  }
}

TEST_CASE("interrupt: a new guard starts without the note of the one before") {
  {
    const InterruptGuard guard;
    raise(SIGINT);
  }
  CHECK_FALSE(InterruptGuard().requested());
}

TEST_CASE("interrupt: a SIGINT after the first signal ends the process at once with 130") {
  for (const int first : {SIGINT, SIGTERM}) {
    CAPTURE(first);
    CHECK(status_of([first] {
            const InterruptGuard guard;
            raise(first);
            raise(SIGINT);
          }) == 130);
  }
}

TEST_CASE("interrupt: the former handling comes back with the last guard, not before") {
  CHECK(status_of([] {
          const InterruptGuard outer;
          { const InterruptGuard inner; }
          raise(SIGTERM);
        }) == 0);
  CHECK(status_of([] {
          signal(SIGTERM, SIG_DFL);
          { const InterruptGuard guard; }
          raise(SIGTERM);
        }) == -SIGTERM);
}

TEST_CASE("interrupt: writing to a closed pipe is an error of the write, not the process's end") {
  CHECK(status_of([] {
          const InterruptGuard guard;
          std::array<int, 2> ends = {};
          if (pipe(ends.data()) != 0) _exit(1);
          close(ends[0]);
          const bool failed = write(ends[1], "x", 1) == -1 && errno == EPIPE;
          _exit(failed ? 0 : 2);
        }) == 0);
}

}  // namespace
}  // namespace vtrain
