#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "tensor/cpu_level.h"

namespace vtrain::testing {

/// Runs the test cases that match `pattern` (doctest's -tc) once per instruction level that this
/// machine has, each in a process of its own: a process has one level.
inline void check_at_every_level(const std::string& pattern) {
  if (std::getenv("VTRAIN_CPU_LEVEL") != nullptr) return;  // this is such a run
  for (const CpuLevel level :
       {CpuLevel::kBaseline, CpuLevel::kAvx2, CpuLevel::kAvx512, CpuLevel::kAvx512Bf16}) {
    if (level > cpu_level()) break;
    CAPTURE(name_of(level));
    const std::string command = "VTRAIN_CPU_LEVEL=" + std::string(name_of(level)) + ' ' +
                                VTRAIN_BINARY_DIR "/vtrain_tests -tc='" + pattern +
                                "' > /dev/null 2>&1";
    CHECK(std::system(command.c_str()) == 0);
  }
}

}  // namespace vtrain::testing
