#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nn/network.h"

namespace vtrain {

/// How far two forms of one network are apart: max |a - b| / max |a| over logits.
double relative_difference(const Tensor& a, const Tensor& b);

/// A change of structure: planned call by call, applied at once. Applying drops the method's hooks,
/// since what they simulated now is built in, and compares the logits before and after on real
/// images: masked = compact.
class Edit {
 public:
  /// `verified` gets the relative difference.
  Edit(Network& network, std::string owner, Tensor images, std::function<void(double)> verified);

  /// A permanent part at a place ("blocks.2.in").
  Edit& replace(std::string place, std::shared_ptr<Module> part);
  void apply();

 private:
  Network& network_;
  std::string owner_;
  Tensor images_;
  std::function<void(double)> verified_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> parts_;
};

}  // namespace vtrain
