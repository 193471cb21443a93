#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

struct ConvertSimd {
  void (*widen)(const BFloat16* from, float* to, int64_t n);
  void (*narrow)(const float* from, BFloat16* to, int64_t n);
};

namespace baseline {
extern const ConvertSimd convert_simd;
}
namespace avx2 {
extern const ConvertSimd convert_simd;
}
namespace avx512 {
extern const ConvertSimd convert_simd;
}
namespace avx512_bf16 {
extern const ConvertSimd convert_simd;
}

}  // namespace vtrain
