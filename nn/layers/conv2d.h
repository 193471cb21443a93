#pragma once

#include "nn/module.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {

struct Conv2dSettings {
  Extent2d kernel = 1, stride = 1;
  Padding2d padding = 0;
  Extent2d dilation = 1;
  int64_t groups = 1;
  bool has_bias = true;
};

/// Convolution, tensor/ops/conv2d.h.   x (N, in, H, W) -> (N, out, H', W'); weight (out, in /
/// groups, kh, kw), bias (out).
/// Both start uniform in +-1 / sqrt(fan in), as PyTorch's do.
class Conv2d final : public Module {
 public:
  Conv2d(int64_t in, int64_t out, const Conv2dSettings& settings);
  Variable forward(const Variable& x, const Pass& pass) override;
  std::map<std::string, double> structure() const override;
  void set_structure(const std::map<std::string, double>& numbers) override;

  const Conv2dOptions& options() const { return options_; }

 private:
  Conv2dOptions options_;
  Parameter weight_, bias_;  // the second undefined without a bias
};

}  // namespace vtrain
