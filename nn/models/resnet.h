#pragma once

#include <array>
#include <memory>
#include <vector>

#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "nn/layers/max_pool2d.h"
#include "nn/models/model.h"

namespace vtrain {

/// What a residual network does to the images before its blocks.
enum class Stem {
  kImageNet,  // conv 7x7, stride 2, and max pool 3x3, stride 2
  kSmall      // conv 3x3, stride 1, no pool: images of 28 to 64 pixels
};

/// Sizes of a residual network.
struct ResNetConfig {
  std::array<int64_t, 4> blocks = {2, 2, 2, 2};  // per stage
  bool has_bottlenecks = false;  // 1x1, 3x3, 1x1 with 4 times the width out, instead of two 3x3
  Stem stem = Stem::kImageNet;
  int64_t width = 64;  // of the stem and the first stage; every further stage doubles it
  int64_t channels = 3, num_classes = 1000;
  /// The stride of a bottleneck stands on its 3x3 (v1.5, torchvision), not on its first 1x1.
  bool has_stride_on_3x3 = true;
  /// The last normalisation of every block starts at 0, so that the block starts as its shortcut:
  /// Goyal et al., arXiv:1706.02677, section 5.1. torchvision's default is off.
  bool zero_init_residual = false;
};

/// Residual network: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR
/// 2016, arXiv:1512.03385, with torchvision's parameter names.
///   images (N, channels, H, W) -> logits (N, num_classes)
class ResNet final : public Model {
 public:
  explicit ResNet(const ResNetConfig& config);
  Outputs outputs(const Variable& images, const Pass& pass) override;

 private:
  ResNetConfig config_;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Relu act1_;
  std::unique_ptr<MaxPool2d> max_pool_;  // kImageNet only
  std::vector<std::unique_ptr<Module>> blocks_;
  GlobalAveragePool pool_;
  Linear fc_;
};

}  // namespace vtrain
