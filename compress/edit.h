#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/parts/cut_groups.h"
#include "nn/network.h"

namespace vtrain {

/// How far two forms of one network are apart: max |a - b| / max |a| over logits.
double relative_difference(const Tensor& a, const Tensor& b);

/// Who keeps state beside parameters and follows their cuts: optimizers, moving averages, masks.
using FollowCut =
    std::function<void(const Parameter& parameter, int axis, const std::vector<int64_t>& keep)>;

/// A change of structure: planned call by call, applied at once. Applying drops the method's hooks,
/// since what they simulated now is built in, and compares logits on real images: of the network
/// before and after, and, where channels are cut, of the masked network and the compact one.
class Edit {
 public:
  struct Context {
    Tensor images;
    std::function<void(double)> verified;  // gets the relative difference
    FollowCut follow;
    std::function<void(const Parameter&)> forget = {};  // who follows, of what is gone
    Pass pass = {};  // of the evaluations that are compared: hooks may depend on the epoch
  };
  Edit(Network& network, std::string owner, Context context);

  /// A permanent part at a place ("blocks.2.in"). Throws RecipeError if one stands there.
  Edit& replace(std::string place, std::shared_ptr<Module> part);
  /// Channels that go. The groups must be of the network as it is now; one cut per edit.
  Edit& cut(const CutGroups& groups, Cut cut);
  /// Channels that get copies, which compute the same: in `start`, before there are moments or
  /// averages of what they are copied from. The groups must be of the network as it is now; one per
  /// edit.
  Edit& grow(const CutGroups& groups, const Growth& growth);
  /// A module that hands its input on from now on, as hooks of this method have it do: a block.
  Edit& drop(std::string module);
  void apply();

 private:
  void apply_cut();
  Tensor logits();
  void drop_modules();
  template <class Axis>
  void follow(const std::vector<Axis>& axes, std::vector<int64_t> Axis::*keep);

  Network& network_;
  std::string owner_;
  Context context_;
  const CutGroups* groups_ = nullptr;
  Cut cut_;
  std::optional<NetworkGrowth> growth_;
  std::vector<std::string> dropped_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> parts_;
};

}  // namespace vtrain
