#include "compress/deploy/codes.h"

#include "tensor/cpu_level.h"

namespace vtrain {

CodeWriter::CodeWriter(const QuantizedType& type)
    : step_{.scale = type.scale,
            .inverse = 1 / type.scale,
            .low = static_cast<float>(type.range.low),
            .high = static_cast<float>(type.range.high),
            .zero_point = static_cast<float>(type.range.zero_point)} {}

void CodeWriter::write(const float* x, int64_t n, uint8_t* q) {
  const FakeQuantizeSimd& simd =
      by_level(baseline::fake_quantize_simd, avx2::fake_quantize_simd, avx512::fake_quantize_simd,
               avx512_bf16::fake_quantize_simd);
  if (!simd.codes(x, step_, q, n)) are_numbers_ = false;
}

void CodeWriter::check(const std::string& layers) {
  if (!are_numbers_.exchange(/*desired=*/true))
    throw Error(str("plan: ", layers, ": expected numbers, got NaN, which has no code"),
                ExitCode::kNonFinite);
}

}  // namespace vtrain
