#pragma once

#include "nn/layers/activation.h"
#include "nn/layers/add.h"
#include "nn/module.h"
#include "tensor/ops/batch_norm.h"

namespace vtrain {

/// Batch normalisation: Ioffe, Szegedy, ICML 2015, arXiv:1502.03167. Parameters weight and bias
/// (C), buffers running_mean and running_var (C), which a training pass updates and any other uses.
/// Where both buffers are frozen, a training pass uses them too and leaves them as they are.
///   x (N, C, H, W) or (N, C) -> like x
class BatchNorm2d final : public Module {
 public:
  explicit BatchNorm2d(int64_t channels, double eps = 1e-5, double momentum = 0.1);
  Variable forward(const Variable& x, const Pass& pass) override;

  /// act(bn(x)) and act(add(bn(x), residual)), the calls of a block. They run as one op where
  /// nothing looks at the values in between: no hook or part at these modules, and no recording.
  friend Variable batch_norm_act(BatchNorm2d& bn, const Variable& x, Relu& act, const Pass& pass);
  friend Variable batch_norm_add_act(BatchNorm2d& bn, const Variable& x, Add& add,
                                     const Variable& residual, Relu& act, const Pass& pass);

 private:
  Variable run(const Variable& x, const Variable& residual, BatchNormActivation activation,
               const Pass& pass);

  double eps_, momentum_;
  Parameter weight_, bias_, running_mean_, running_var_;
};

}  // namespace vtrain
