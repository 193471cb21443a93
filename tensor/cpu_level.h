#pragma once

#include <string_view>

namespace vtrain {

/// Instruction levels the *_simd.cpp files are compiled for, lowest first (x86-64-v2, v3, v4).
enum class CpuLevel { kBaseline, kAvx2, kAvx512 };

/// The highest level this CPU has, or the lower one that the environment variable VTRAIN_CPU_LEVEL
/// names (baseline, avx2, avx512). Fixed at the first call. Throws DeviceError for an unknown name
/// or a level the CPU lacks.
CpuLevel cpu_level();
std::string_view name_of(CpuLevel level);

/// The one of three tables that fits this CPU.
template <class Table>
const Table& by_level(const Table& baseline, const Table& avx2, const Table& avx512) {
  switch (cpu_level()) {
    case CpuLevel::kBaseline:
      return baseline;
    case CpuLevel::kAvx2:
      return avx2;
    case CpuLevel::kAvx512:
      return avx512;
  }
  return baseline;
}

}  // namespace vtrain
