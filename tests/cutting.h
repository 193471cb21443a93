#pragma once

#include "compress/parts/cut_groups.h"

namespace vtrain {

enum class CutScore { kRandom, kMagnitude };

struct MaskedCompact {
  double difference = 0;  // max |masked - compact| / max |masked|
  int64_t removed = 0;    // channels
};

/// Parameters that no initialisation gives: statistics, scales and shifts that a trained network
/// could have.
void make_trained(Network& network, uint64_t seed);
/// Running statistics become those of these images, so that signals keep their size in any depth.
void calibrate_batch_norm(Network& network, const Tensor& images);
/// Every parameter and buffer in f64: the network then runs through the plain reference kernels.
void widen(Network& network);
/// Logits in evaluation, hooks on, in the dtype of the network's parameters.
Tensor logits_of(Network& network, const Tensor& images);

/// The share `rate` of every group, at least one channel left, least scores first.
Cut lowest(const Network& network, const CutGroups& groups, double rate, CutScore score,
           uint64_t seed);

/// Masks a network with trained-looking weights and calibrated batch norms and then cuts it, in
/// place.
MaskedCompact masked_against_compact(Network& network, DType dtype, GroupedCut grouped, double rate,
                                     CutScore score, uint64_t seed);

/// `./dev test --full` asks for what takes too long every day.
bool is_full();

}  // namespace vtrain
