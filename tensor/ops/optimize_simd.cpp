#include "tensor/ops/optimize_simd.h"

#include "tensor/ops/optimize_loops.h"

namespace vtrain::VTRAIN_LEVEL {

const OptimizeSimd optimize_simd = {adamw_loop<float>, sgd_loop<float>, ema_loop<float>,
                                    squares_loop<float>};

}  // namespace vtrain::VTRAIN_LEVEL
