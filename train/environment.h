#pragma once

#include <string>

namespace vtrain {

/// The "model name" of the first CPU in /proc/cpuinfo, "unknown" if there is none.
std::string chip_name();

/// What bits and speeds of a run may depend on, as a JSON object (env.json): vtrain's version,
/// compiler, chip, those CPU flags that kernels are chosen by, the level chosen, cores, threads as
/// they are set now, oneDNN, kernel.
std::string environment_json();

}  // namespace vtrain
