#include "tensor/cpu_level.h"

#include <cstdlib>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {
CpuLevel detected() {
  // clang 14 does not know the names x86-64-v3 and v4, so their features are asked for. Of v3,
  // f16c, lzcnt and movbe cannot be asked there; every chip with AVX2, BMI2 and FMA has them.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) return CpuLevel::kAvx512;
  return v3 ? CpuLevel::kAvx2 : CpuLevel::kBaseline;
}

CpuLevel chosen() {
  const CpuLevel best = detected();
  const char* const asked = std::getenv("VTRAIN_CPU_LEVEL");
  if (asked == nullptr || *asked == '\0') return best;
  for (const CpuLevel level : {CpuLevel::kBaseline, CpuLevel::kAvx2, CpuLevel::kAvx512}) {
    if (name_of(level) != asked) continue;
    if (level > best)
      throw DeviceError(
          str("VTRAIN_CPU_LEVEL=", asked, ": this CPU has ", name_of(best), " at most"));
    return level;
  }
  throw DeviceError(str("VTRAIN_CPU_LEVEL=", asked, ": expected baseline, avx2 or avx512"));
}
}  // namespace

CpuLevel cpu_level() {
  static const CpuLevel level = chosen();
  return level;
}

std::string_view name_of(CpuLevel level) {
  switch (level) {
    case CpuLevel::kBaseline:
      return "baseline";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx512:
      return "avx512";
  }
  return "?";
}

}  // namespace vtrain
