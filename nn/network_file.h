#pragma once

#include <string>

#include "nn/network.h"
#include "tensor/safetensors.h"

namespace vtrain {

/// Writes a file that a network can be rebuilt from, in one piece or not at all: `file` has its
/// tensors and what is particular to its format; architecture and preprocessing are added here.
/// Throws Error (kNonFinite), naming the tensor, for a value that is not finite, and IoError.
void write_network_file(const std::string& path, const Network& network, NamedTensors file);

}  // namespace vtrain
