#pragma once

#include <optional>

#include "tensor/error.h"

namespace vtrain {

/// While one lives, the first SIGINT or SIGTERM only leaves a note, so that the loop can finish its
/// step and save. A SIGINT after that ends the process at once with 130; a further SIGTERM changes
/// nothing (schedulers send several, then SIGKILL). SIGPIPE and SIGXFSZ are ignored: a closed pipe
/// or a file-size limit becomes an error of the write, with a message. The former handling comes
/// back, and the note is lost, when the last guard goes.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// kInterrupted (SIGINT) or kTerminated (SIGTERM), whichever came first; nullopt while neither
  /// came.
  std::optional<ExitCode> requested() const;
};

}  // namespace vtrain
