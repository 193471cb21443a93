#include "tensor/convert.h"

#include "tensor/convert_simd.h"
#include "tensor/cpu_level.h"

namespace vtrain {
namespace {
const ConvertSimd& simd() {
  return by_level(baseline::convert_simd, avx2::convert_simd, avx512::convert_simd,
                  avx512_bf16::convert_simd);
}
}  // namespace

void widen(const BFloat16* from, float* to, int64_t n) { simd().widen(from, to, n); }
void narrow(const float* from, BFloat16* to, int64_t n) { simd().narrow(from, to, n); }

}  // namespace vtrain
