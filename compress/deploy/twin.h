#pragma once

#include <memory>

#include "compress/deploy/calibrate.h"

namespace vtrain {

/// A copy of the network that computes in f32 what the integer network computes, for evaluation.
///
/// - Weights are those of the codes, batch norms are folded in, and hooks round every value of
///   `quantization.places`.
/// - A layer whose input passes a place of its module multiplies whole numbers: f32 adds them
/// without
///   rounding while sums stay below 2^24, in any order, so they are the sums of the integer
///   kernels. From them it makes its codes by the one formula (Int8Layer), residual and activation
///   included. Then a convolutional network has the logits of its plan, bit for bit; of a
///   transformer, what stays real between its layers is rounded in the order of the ops.
/// - A layer without such a place, or with codes of more than a byte, multiplies reals.
std::unique_ptr<Network> fake_quantized(const Network& network, const Graph& graph,
                                        const Quantization& quantization);

}  // namespace vtrain
