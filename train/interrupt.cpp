#include "train/interrupt.h"

#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction is not in <csignal>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

namespace vtrain {
namespace {

constexpr std::array kHandled = {SIGINT, SIGTERM, SIGPIPE, SIGXFSZ};

// Signals belong to the process, so what remembers them does too.
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);  // else a handler must not touch it
std::mutex guards_mutex;
int guards = 0;
std::array<struct sigaction, kHandled.size()> former;

void note(int signal) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, signal)) return;
  if (signal == SIGINT) _exit(static_cast<int>(ExitCode::kInterrupted));
}

void handle(int signal, void (*handler)(int), struct sigaction* old) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // reads and writes under way go on: the step is to be finished
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, old);
}

}  // namespace

// SIGINT is handled even if it was ignored before, as it is in a script's background job: `kill
// -INT` shall save there too.
InterruptGuard::InterruptGuard() {
  const std::lock_guard lock(guards_mutex);
  if (guards++ > 0) return;
  first_signal = 0;
  for (size_t i = 0; i < kHandled.size(); ++i) {
    const bool stops = kHandled[i] == SIGINT || kHandled[i] == SIGTERM;
    handle(kHandled[i], stops ? note : SIG_IGN, &former[i]);
  }
}

InterruptGuard::~InterruptGuard() {
  const std::lock_guard lock(guards_mutex);
  if (--guards > 0) return;
  for (size_t i = 0; i < kHandled.size(); ++i) sigaction(kHandled[i], &former[i], nullptr);
}

std::optional<ExitCode> InterruptGuard::requested() const {
  switch (first_signal.load()) {
    case SIGINT:
      return ExitCode::kInterrupted;
    case SIGTERM:
      return ExitCode::kTerminated;
    default:
      return std::nullopt;
  }
}

}  // namespace vtrain
