#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "train/experiment.h"

namespace vtrain {

struct TrainOptions {
  bool quiet = false;
  bool json = false;                  // result.json's object as the last line of output
  bool strict = false;                // a missed `expect` is an error
  std::optional<std::string> resume;  // "" = the newest run of this recipe, else a run folder
  std::string command_line;
};

/// What `vtrain check` shows, and what every run does first: each phase is built and its methods
/// attach to it, so that what cannot work is refused before any training. Data sets are opened for
/// their shape; `lines` gets the model table and the hook order.
std::vector<std::string> dry_run(const Experiment& experiment);

/// Runs all phases, then reports. Returns kDone, or kInterrupted / kTerminated after saving. Throws
/// Error.
ExitCode train(const Experiment& experiment, const TrainOptions& options, std::ostream& out);

}  // namespace vtrain
