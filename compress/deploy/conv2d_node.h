#pragma once

#include "nn/graph.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {

/// What the attributes of a recorded conv2d say.
Conv2dOptions conv2d_options(const Graph::Node& node);

}  // namespace vtrain
