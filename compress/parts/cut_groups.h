#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compress/parts/channels.h"
#include "nn/network.h"

namespace vtrain {

/// Channels that live at the same places of a network: any of them can be cut without the others.
/// One channel is the smallest legal cut; it may have several indices at a place, as the columns of
/// a linear layer behind a flattened image have.
struct CutGroup {
  struct Place {
    std::string parameter;
    int axis = 0;
  };
  std::string name;  // of the module that makes them: "layer1.0.conv1"
  std::vector<Place> places;
  std::vector<std::vector<std::vector<int64_t>>> indices;  // [channel][place]
  bool is_residual = false;    // a sum of branches carries them: a cut narrows the stream
  bool is_normalised = false;  // a layer norm takes statistics over them: a cut changes these

  int64_t size() const { return static_cast<int64_t>(indices.size()); }
};

/// The channels that go: one sorted list per group, in the order of CutGroups::groups().
using Cut = std::vector<std::vector<int64_t>>;

/// The channels that get copies: one list per group, in the order of CutGroups::groups(); a channel
/// may be named several times.
using Growth = std::vector<std::vector<int64_t>>;

/// What can be cut from a network, found from its graph and never from names of layers: channels
/// that sums, concatenations, depthwise and grouped convolutions, shuffles, gates and attention
/// bind together are one. The plan of the network must be made while it has the graph's structure.
class CutGroups {
 public:
  explicit CutGroups(Network& network, GroupedCut grouped = GroupedCut::kAligned,
                     const HeadOrders& orders = {});

  const std::vector<CutGroup>& groups() const { return groups_; }
  Cut nothing() const { return Cut(groups_.size()); }

  /// Of what is left, for one image.
  int64_t macs(const Cut& cut) const;
  int64_t params(const Cut& cut) const;

  /// Throws Error if a channel is named twice or does not exist, or if a layer would keep none,
  /// naming it.
  NetworkCut plan(const Cut& cut) const;

  /// Copies stand behind their originals at every place, and layers that read a channel share its
  /// weights among it and its copies: element-wise ops, normalisation over images and pooling then
  /// give what they gave. Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016, arXiv:1511.05641. Throws
  /// Error for a channel that does not exist, and for channels that a layer norm takes statistics
  /// over, that no layer reads one by one, as queries and keys, or that none makes.
  NetworkGrowth plan_growth(const Growth& growth) const;

 private:
  /// How many of an axis stay: those never cut, and those of channels that stay.
  struct Axis {
    int64_t fixed = 0;
    std::vector<std::pair<size_t, std::vector<int64_t>>> counts;  // group: entries per channel
    int64_t kept(const Cut& cut) const;
    int64_t grown(const Growth& growth) const;
  };
  struct Cost {
    double coefficient;
    std::vector<Axis> axes;
  };
  struct Adaptation {
    std::string module, attribute;
    Axis counted;
  };
  struct ParameterAxis {
    std::string parameter;
    int axis;
    Axis counted;
  };

  std::vector<CutGroup> groups_;
  std::vector<Cost> macs_, params_;
  int64_t fixed_macs_ = 0, fixed_params_ = 0;
  std::vector<Adaptation> adaptations_;
  std::vector<ParameterAxis> axes_;
};

/// The indices that a cut takes away, by parameter and axis.
using RemovedIndices = std::map<std::pair<std::string, int>, std::set<int64_t>>;
RemovedIndices removed_indices(const CutGroups& groups, const Cut& cut);

/// Sets what a cut takes away to 0, in place: the masked network. It computes what the compact one
/// does, given mask_layer_norms where a layer norm sees cut channels.
void mask(Network& network, const CutGroups& groups, const Cut& cut);

/// Hooks of `owner` under which layer norms take their statistics over the kept channels only and
/// give 0 at the others: with c of C channels kept, mean and variance of zeros would be others.
void mask_layer_norms(Network& network, const CutGroups& groups, const Cut& cut,
                      const std::string& owner);

}  // namespace vtrain
