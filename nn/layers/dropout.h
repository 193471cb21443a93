#pragma once

#include "nn/module.h"

namespace vtrain {

/// In training every element is set to 0 with probability `rate` and the others are scaled by
/// 1 / (1 - rate); otherwise the identity. Srivastava et al., JMLR 15, 2014. The noise is that of
/// (run, phase, this module's path, step, sample, element): the same however a batch is split, and
/// the same again where one pass calls the module twice.   x (N, ...)
class Dropout final : public Module {
 public:
  /// Throws ShapeError unless 0 <= rate < 1.
  explicit Dropout(double rate);
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  double rate_;
};

}  // namespace vtrain
