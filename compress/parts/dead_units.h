#pragma once

#include <cstdint>

#include "compress/parts/cut_groups.h"
#include "compress/run.h"

namespace vtrain {

/// Channels that zero weights have made superfluous.
struct DeadUnits {
  Cut cut;           // those that can go without any change of what the network computes
  int64_t kept = 0;  // those without a nonzero input that must stay, see find_dead_units
};

/// A channel can go if all weights that read it are 0, or if all weights that make it are 0 and its
/// constant, act(bias), is 0 or can move exactly into what reads it: into the bias of a linear
/// layer or of a convolution without padding, or the running mean behind one without bias. Behind
/// padding a constant does not reach the border as a bias would, so such a channel stays. One
/// channel of every group stays. Channels of a layer norm, whose statistics they enter, are left
/// alone.
DeadUnits find_dead_units(Network& network, const CutGroups& groups);

struct RemovedUnits {
  int64_t removed = 0, kept = 0;
  double max_rel = 0;  // of logits on noise before and after, folding included
};

/// Cuts dead units of the run's network until there are none: removing one may leave others without
/// inputs or readers. Drops the method's hooks if anything is cut.
RemovedUnits remove_dead_units(Run& run);

}  // namespace vtrain
