#pragma once

#include <string_view>

namespace vtrain {

/// Instruction levels of the program, lowest first. The *_simd.cpp files are compiled for
/// x86-64-v2, v3, v4, and v4 with VNNI and BF16. AMX is used by oneDNN alone; our own kernels are
/// then those of the level below.
enum class CpuLevel { kBaseline, kAvx2, kAvx512, kAvx512Bf16, kAmx };

/// The highest level this CPU has, or the lower one that the environment variable VTRAIN_CPU_LEVEL
/// names (baseline, avx2, avx512, avx512_bf16, amx). Fixed at the first call. Throws DeviceError
/// for an unknown name or a level the CPU lacks.
CpuLevel cpu_level();
CpuLevel highest_cpu_level();  // whatever the environment says
std::string_view name_of(CpuLevel level);

/// The one of four tables that fits this CPU.
template <class Table>
const Table& by_level(const Table& baseline, const Table& avx2, const Table& avx512,
                      const Table& avx512_bf16) {
  switch (cpu_level()) {
    case CpuLevel::kBaseline:
      return baseline;
    case CpuLevel::kAvx2:
      return avx2;
    case CpuLevel::kAvx512:
      return avx512;
    case CpuLevel::kAvx512Bf16:
    case CpuLevel::kAmx:
      return avx512_bf16;
  }
  return baseline;
}

}  // namespace vtrain
