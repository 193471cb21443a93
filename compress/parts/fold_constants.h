#pragma once

#include "compress/parts/cut_groups.h"

namespace vtrain {

struct FoldedConstants {
  int64_t channels = 0;  // of how many layers' inputs a constant was folded
  bool is_exact = true;  // false: some were not constant everywhere, see fold_constants
};

/// For methods that zero the weights which make a channel and leave its bias and normalisation: the
/// channel then is a constant, act(beta - gamma * mean / sqrt(variance + eps)) behind a batch norm,
/// which must not be lost with it. Zeroes these rows in place, and adds what the constants
/// contribute to the biases of the layers that read them, or takes it from the running mean behind
/// a layer without bias. The network then computes what it did, and can be cut.
///
/// Exact for linear layers and for convolutions without padding. Where zeros pad an image, taps
/// outside see 0 and not the constant: then the border differs, and `is_exact` is false. (The other
/// way is to zero normalisation and bias too: `mask` does, and is exact.)
/// Throws Error for channels of a layer norm, whose statistics no constant replaces, and where a
/// layer has neither a bias nor a batch norm behind it.
FoldedConstants fold_constants(Network& network, const CutGroups& groups, const Cut& cut);

/// Sets to 0 only the rows of weights that make the channels: what such a method's mask does.
void zero_rows(Network& network, const CutGroups& groups, const Cut& cut);

}  // namespace vtrain
