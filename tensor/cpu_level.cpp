#include "tensor/cpu_level.h"

#include <cstdlib>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {
CpuLevel detected() {
  if (__builtin_cpu_supports("x86-64-v4")) return CpuLevel::kAvx512;
  if (__builtin_cpu_supports("x86-64-v3")) return CpuLevel::kAvx2;
  return CpuLevel::kBaseline;
}

CpuLevel chosen() {
  const CpuLevel best = detected();
  const char* const asked = std::getenv("VTRAIN_CPU_LEVEL");
  if (asked == nullptr || *asked == '\0') return best;
  for (const CpuLevel level : {CpuLevel::kBaseline, CpuLevel::kAvx2, CpuLevel::kAvx512}) {
    if (name_of(level) != asked) continue;
    if (level > best) throw DeviceError(str("VTRAIN_CPU_LEVEL=", asked, ": this CPU has ", name_of(best), " at most"));
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
    case CpuLevel::kBaseline: return "baseline";
    case CpuLevel::kAvx2: return "avx2";
    case CpuLevel::kAvx512: return "avx512";
  }
  return "?";
}

}  // namespace vtrain
