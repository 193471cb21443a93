#pragma once

#include "compress/deploy/calibrate.h"
#include "compress/deploy/plan_graph.h"

namespace vtrain {

/// Rewrites `graph` so that what `quantization` keeps as codes is codes.
///
/// - Its layers become "int8_conv2d" and "int8_linear", with the codes, scales and folded biases as
///   constants; the ops that they take into their pass become "int8_batch_norm", "int8_add",
///   "int8_relu" and "int8_relu6", which no other step computes.
/// - Pools and sums over images of codes become "int8_max_pool2d", "int8_adaptive_max_pool2d" and
///   "int8_sum"; ops that only move elements move codes.
/// - Between reals and codes stand "quantize" and "dequantize", one for each value and direction.
///   The codes of a real value have its scope with ":codes" behind it, reals of codes with
///   ":reals".
///
/// Throws Error if the quantization is of another network.
void put_on_codes(PlanGraph& graph, const Graph& source, const Quantization& quantization);

}  // namespace vtrain
