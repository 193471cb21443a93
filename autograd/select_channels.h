#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// y[.., j] = x[.., index[j]]: the channels that a layer still reads. A parameter as index is part
/// of the network: a cut of the layer's inputs takes entries from it (compress/parts/channels.h).
///   x (.., C), index f32 or f64 (K), whole numbers in [0, C)  ->  (.., K)
/// The gradient reaches x alone. Throws ShapeError.
Variable select_channels(const Variable& x, const Variable& index);

}  // namespace vtrain
