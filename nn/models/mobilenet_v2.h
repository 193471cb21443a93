#pragma once

#include <memory>
#include <vector>

#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/dropout.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "nn/models/model.h"

namespace vtrain {

/// A row of the paper's table 2: `count` blocks that expand their input `expansion` times and give
/// `channels` channels; the first of them has the stride.
struct InvertedResiduals {
  int64_t expansion, channels, count, stride;
};

/// Sizes of a MobileNetV2; the defaults are the paper's.
struct MobileNetV2Config {
  int64_t stem_channels = 32, stem_stride = 2;
  std::vector<InvertedResiduals> rows = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2},
                                         {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2},
                                         {6, 320, 1, 1}};
  int64_t head_channels = 1280;
  /// Multiplies every width, each rounded to a multiple of 8; the head's only if above 1.
  double width_mult = 1;
  double dropout = 0.2;  // before the classifier
  int64_t channels = 3, num_classes = 1000;
};

/// The multiple of 8 nearest to v, at least 8, and not below 0.9 v.
int64_t make_divisible_by_8(double v);

/// MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear
/// Bottlenecks", CVPR 2018, arXiv:1801.04381, with torchvision's parameter names.
///   images (N, channels, H, W) -> logits (N, num_classes)
class MobileNetV2 final : public Model {
 public:
  explicit MobileNetV2(const MobileNetV2Config& config);
  Outputs outputs(const Variable& images, const Pass& pass) override;

 private:
  int64_t channels_;
  std::vector<std::unique_ptr<Module>> features_;
  GlobalAveragePool pool_;
  std::unique_ptr<Dropout> dropout_;
  std::unique_ptr<Linear> linear_;
};

}  // namespace vtrain
