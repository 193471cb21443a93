#pragma once

#include <cstdint>

#include "tensor/bfloat16.h"

namespace vtrain {

/// n neighbouring elements from one short form to the other, with this CPU's vectors. `narrow`
/// rounds to nearest, ties to even; a NaN stays one.
void widen(const BFloat16* from, float* to, int64_t n);
void narrow(const float* from, BFloat16* to, int64_t n);

}  // namespace vtrain
