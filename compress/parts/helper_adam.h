#pragma once

#include <vector>

#include "nn/module.h"

namespace vtrain {

struct HelperAdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;  // decay of the means of gradients and of their squares
  double eps = 1e-8;
};

/// Adam for the parameters of a helper that shall not move by the phase's optimizer and schedule:
/// an adversary plays by its own. Kingma, Ba, ICLR 2015, arXiv:1412.6980, without weight decay. It
/// is a helper itself, run.add_module("adam", adam): its buffers are the moments, in the order of
/// the parameters, and the number of updates, so that they are saved and resumed.
class HelperAdam final : public Module {
 public:
  HelperAdam(std::vector<Parameter> parameters, const HelperAdamOptions& options);
  /// For Method::after_backward: moves the parameters by the gradients that are there, and takes
  /// them away, so that neither clipping nor the phase's optimizer sees them. Without gradients
  /// nothing is done.
  void step();

 private:
  using Module::add;
  std::vector<Parameter> parameters_, means_, squares_;
  Parameter updates_;  // (1)
  HelperAdamOptions options_;
};

}  // namespace vtrain
