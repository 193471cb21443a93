#pragma once

#include <set>
#include <string>
#include <vector>

#include "compress/deploy/calibrate.h"
#include "tests/pruning.h"

namespace vtrain {

/// A weight as the forward pass reads it in evaluation, hooks on.
std::vector<double> effective_weight(TestPhase& phase, const std::string& path);

/// How many values there are in a row of a weight of `rows` rows, in the one with most.
size_t most_values_in_a_row(const std::vector<double>& weight, size_t rows);

/// Begins the phase and trains it to its end, with finish.
void train_to_end(TestPhase& phase);

/// What the phase left to be deployed on integers; the test fails if it did not.
const Quantization& integers_of(TestPhase& phase);

/// The plan on integers computes the steps of its twin to one code, on images of the data set, and
/// logits near `trained`, those of the network in training form on the same images: sums of f32 in
/// another order turn single codes at ties.
void check_deployed(TestPhase& phase, const Tensor& images, const Tensor& trained,
                    double tolerance = 0.03);

}  // namespace vtrain
