#pragma once

#include "compress/parts/cut_groups.h"

namespace vtrain {

/// How long one image takes through the deployed network that a cut leaves, on this machine: built,
/// cut, deployed in f32 and timed. What was measured once stands among the measured choices
/// (tensor/choices.h), so that runs and resumed runs cut alike.
class MeasuredLatency {
 public:
  /// Keeps references to both. The network may be on any device; it is timed on the CPU.
  MeasuredLatency(const Network& network, const CutGroups& groups)
      : network_(network), groups_(groups) {}

  double milliseconds(const Cut& cut) const;

 private:
  const Network& network_;
  const CutGroups& groups_;
};

/// The median time of one image through the deployed network, in milliseconds, measured now.
double measure_latency_ms(Network& network);

}  // namespace vtrain
