#pragma once

#include "nn/module.h"
#include "tensor/ops/pool.h"

namespace vtrain {

/// The largest value of each window, tensor/ops/pool.h.   x (N, C, H, W) -> (N, C, H', W')
class MaxPool2d final : public Module {
 public:
  explicit MaxPool2d(const Pool2dOptions& options) : options_(options) {}
  Variable forward(const Variable& x, const Pass& pass) override;

  const Pool2dOptions& options() const { return options_; }

 private:
  Pool2dOptions options_;
};

/// The same over windows that cover the image and give `size` outputs, whatever its own size.
class AdaptiveMaxPool2d final : public Module {
 public:
  explicit AdaptiveMaxPool2d(Extent2d size) : size_(size) {}
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  Extent2d size_;
};

}  // namespace vtrain
