#pragma once

#include <memory>
#include <vector>

#include "nn/layers/average_pool2d.h"
#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/dropout.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "nn/layers/max_pool2d.h"
#include "nn/models/model.h"

namespace vtrain {

/// What follows a VGG's convolutions.
enum class VggHead {
  kThreeLayers,  // average to 7x7, two hidden layers of 4096 with dropout, the classifier
  kAverage,      // global average, the classifier: small images
  kFlatten       // the classifier on all positions: tiny images
};

/// Sizes of a VGG.
struct VggConfig {
  static constexpr int64_t kPool = 0;
  std::vector<int64_t> layers;  // channels of a 3x3 convolution, or kPool: max pool 2x2
  bool has_batch_norm = true;
  VggHead head = VggHead::kThreeLayers;
  double dropout = 0.5;  // before both hidden layers' successors
  int64_t channels = 3, num_classes = 1000;
  int64_t image_size = 224;  // of kFlatten
};

/// VGG: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
/// ICLR 2015, arXiv:1409.1556, with torchvision's parameter names.
///   images (N, channels, H, W) -> logits (N, num_classes)
class Vgg final : public Model {
 public:
  explicit Vgg(const VggConfig& config);
  Outputs outputs(const Variable& images, const Pass& pass) override;

 private:
  /// A convolution with what belongs to it, or a pool.
  struct Step {
    std::unique_ptr<Conv2d> conv;
    std::unique_ptr<BatchNorm2d> bn;
    std::unique_ptr<Relu> act;
    std::unique_ptr<MaxPool2d> pool;
  };
  Variable classify(const Variable& features, const Pass& pass);

  int64_t channels_;
  VggHead head_;
  std::vector<Step> steps_;
  AdaptiveAveragePool2d pool7_{7};
  GlobalAveragePool pool1_;
  Relu act1_, act2_;
  Dropout dropout1_, dropout2_;
  std::unique_ptr<Linear> hidden1_, hidden2_, classifier_;  // the first two of kThreeLayers
};

}  // namespace vtrain
