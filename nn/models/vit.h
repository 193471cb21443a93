#pragma once

#include <memory>
#include <vector>

#include "nn/layers/block.h"
#include "nn/models/model.h"

namespace vtrain {

/// Sizes of a vision transformer.
struct VitConfig {
  int64_t image_size = 224, patch_size = 16, channels = 3, num_classes = 1000;
  int64_t dim = 192, depth = 12, num_heads = 3, hidden_dim = 768;
  double drop_path = 0;
  /// Linear weights start uniform in +-1/sqrt(in) instead of normal with std 0.02 (timm): narrow
  /// networks on short schedules learn faster so.
  bool has_fan_in_init = false;
  /// A second token behind the class token, with a head of its own, for the teacher's labels.
  bool has_dist_token = false;
};

/// Images to patch tokens: a convolution whose kernel equals its stride, computed as one linear
/// layer over patches. Its weight keeps the convolution's shape (dim, channels, patch, patch), as
/// timm stores it.
///   images (N, C, H, W) -> (N, H/patch * W/patch, dim)
class PatchEmbed final : public Module {
 public:
  PatchEmbed(int64_t channels, int64_t patch_size, int64_t dim);
  Variable forward(const Variable& images, const Pass& pass) override;

 private:
  /// Holds the weight under timm's path patch_embed.proj.
  class Projection final : public Module {
   public:
    Projection(int64_t channels, int64_t patch_size, int64_t dim);
    Variable forward(const Variable& images, const Pass& pass) override;

   private:
    int64_t patch_size_;
    Parameter weight_, bias_;
  };
  Projection proj_;
};

/// Vision transformer with a class token: Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR
/// 2021, arXiv:2010.11929; sizes Ti and S: Touvron et al. (DeiT), ICML 2021, arXiv:2012.12877.
/// Parameter paths are timm's.
///   images (N, C, H, W) -> logits (N, K)
/// With a distillation token the logits are the mean of both heads', as DeiT classifies, and each
/// head's own are the heads "cls" and "dist".
class Vit final : public Model {
 public:
  explicit Vit(const VitConfig& config);
  Outputs outputs(const Variable& images, const Pass& pass) override;

 private:
  VitConfig config_;
  PatchEmbed patch_embed_;
  Parameter cls_token_, dist_token_, pos_embed_;  // the second only with has_dist_token
  std::vector<std::unique_ptr<Block>> blocks_;
  LayerNorm norm_;
  Linear head_;
  std::unique_ptr<Linear> head_dist_;
};

}  // namespace vtrain
