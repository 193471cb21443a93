#pragma once

#include <vector>

#include "nn/network.h"

namespace vtrain {

/// d loss / d p of each of `wanted`, of its shape: zeros where the loss does not depend on it.
/// `loss` comes from a forward pass with Pass::wants_grad; its graph is walked and gone. Gradients
/// that the network's parameters hold, of a training step, stay as they are.
std::vector<Tensor> gradients(Network& network, const Variable& loss,
                              const std::vector<Parameter>& wanted);

}  // namespace vtrain
