#include "tensor/cpu_level.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {
/// CPUID leaf 7: AMX-BF16 is bit 22, AMX-TILE bit 24, AMX-INT8 bit 25 of edx. Neither gcc 12 nor
/// clang 14 knows their names. Linux must hand out the tile registers too: it refuses the request
/// where the kernel or the virtual machine does not save them.
bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kTileBf16Int8 = 1U << 22 | 1U << 24 | 1U << 25;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return (edx & kTileBf16Int8) == kTileBf16Int8 &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuLevel detected() {
  // clang 14 does not know the names x86-64-v3 and v4, so their features are asked for. Of v3,
  // f16c, lzcnt and movbe cannot be asked there; every chip with AVX2, BMI2 and FMA has them.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  const bool v4_bf16 =
      v4 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  if (v4_bf16) return has_amx() ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
  if (v4) return CpuLevel::kAvx512;
  return v3 ? CpuLevel::kAvx2 : CpuLevel::kBaseline;
}

CpuLevel chosen() {
  const CpuLevel best = detected();
  const char* const asked = std::getenv("VTRAIN_CPU_LEVEL");
  if (asked == nullptr || *asked == '\0') return best;
  for (const CpuLevel level : {CpuLevel::kBaseline, CpuLevel::kAvx2, CpuLevel::kAvx512,
                               CpuLevel::kAvx512Bf16, CpuLevel::kAmx}) {
    if (name_of(level) != asked) continue;
    if (level > best)
      throw DeviceError(
          str("VTRAIN_CPU_LEVEL=", asked, ": this CPU has ", name_of(best), " at most"));
    return level;
  }
  throw DeviceError(
      str("VTRAIN_CPU_LEVEL=", asked, ": expected baseline, avx2, avx512, avx512_bf16 or amx"));
}
}  // namespace

CpuLevel highest_cpu_level() { return detected(); }

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
    case CpuLevel::kAvx512Bf16:
      return "avx512_bf16";
    case CpuLevel::kAmx:
      return "amx";
  }
  return "?";
}

}  // namespace vtrain
