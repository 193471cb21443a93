#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "nn/network.h"
#include "tensor/choices.h"

namespace vtrain {

/// The recipe's key `amp`: what layers compute in. Weights, statistics and losses are f32 always.
enum class Amp { kAuto, kOff, kBf16 };

/// Makes every measured choice of a network's training step (tensor/choices.h), and decides `amp:
/// auto` by timing a step in f32 and in bf16, on a copy of the network without its hooks and a
/// batch of zeros; where the chip has no instructions for bf16 the answer is f32 untimed. What an
/// earlier run on this machine measured is taken from its file; that file is extended, and `note`
/// told if that fails. Returns the dtype to compute in.
DType make_choices(const Network& network, int64_t batch_size, Amp amp,
                   const std::function<void(const std::string&)>& note);

/// Adds what this process measured to this machine's file, and takes from it what another process
/// was first to write.
void share_choices(const std::function<void(const std::string&)>& note);

}  // namespace vtrain
