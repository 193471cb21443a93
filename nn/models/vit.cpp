#include "nn/models/vit.h"

#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/linear.h"
#include "autograd/shape.h"

namespace vtrain {

PatchEmbed::Projection::Projection(int64_t channels, int64_t patch_size, int64_t dim)
    : patch_size_(patch_size) {
  const double bound = 1 / std::sqrt(static_cast<double>(channels * patch_size *
                                                         patch_size));  // a convolution's default
  weight_ = add("weight", Parameter({dim, channels, patch_size, patch_size}, Init::uniform(bound)));
  bias_ = add("bias", Parameter({dim}, Init::uniform(bound)));
}

Variable PatchEmbed::Projection::forward(const Variable& images, const Pass& pass) {
  const Variable weight = weight_.effective(pass);
  return linear(patchify(images, patch_size_), reshape(weight, {weight.dim(0), -1}),
                bias_.effective_full(pass));
}

PatchEmbed::PatchEmbed(int64_t channels, int64_t patch_size, int64_t dim)
    : proj_(channels, patch_size, dim) {
  add("proj", proj_);
}

Variable PatchEmbed::forward(const Variable& images, const Pass& pass) {
  return proj_(images, pass);
}

namespace {
const VitConfig& checked(const VitConfig& c) {
  if (c.image_size % c.patch_size != 0) {
    throw RecipeError(str("vit: expected an image size divisible by the patch size ", c.patch_size,
                          ", got ", c.image_size));
  }
  return c;
}
}  // namespace

Vit::Vit(const VitConfig& config)
    : config_(checked(config)),
      patch_embed_(config.channels, config.patch_size, config.dim),
      norm_(config.dim),
      head_(config.dim, config.num_classes) {
  const int64_t side = config.image_size / config.patch_size;
  cls_token_ = add("cls_token", Parameter({1, 1, config.dim}, Init::normal(1e-6)));
  if (config.has_dist_token)
    dist_token_ = add("dist_token", Parameter({1, 1, config.dim}, Init::normal(0.02)));
  const int64_t special = config.has_dist_token ? 2 : 1;
  pos_embed_ =
      add("pos_embed", Parameter({1, side * side + special, config.dim}, Init::normal(0.02)));
  add("patch_embed", patch_embed_);
  for (int64_t i = 0; i < config.depth; ++i) {
    const double rate = config.depth > 1 ? config.drop_path * static_cast<double>(i) /
                                               static_cast<double>(config.depth - 1)
                                         : 0;
    blocks_.push_back(
        std::make_unique<Block>(config.dim, config.num_heads, config.hidden_dim, rate));
    add(str("blocks.", i), *blocks_.back());
  }
  add("norm", norm_);
  add("head", head_);
  if (config.has_dist_token) {
    head_dist_ = std::make_unique<Linear>(config.dim, config.num_classes);
    add("head_dist", *head_dist_);
  }
  if (!config.has_fan_in_init) return;
  for (const Parameter& p : parameters()) {
    if (p.value().ndim() != 2) continue;
    p.set_init(Init::uniform(1 / std::sqrt(static_cast<double>(p.value().dim(1)))));
  }
}

Outputs Vit::outputs(const Variable& images, const Pass& pass) {
  const Shape wanted{images.dim(0), config_.channels, config_.image_size, config_.image_size};
  if (images.shape() != wanted)
    throw ShapeError(str("[vit] images ", images.shape(), ": expected ", wanted));
  const auto token = [&](const Parameter& p) {
    return expand(p.effective(pass), {images.dim(0), 1, p.value().dim(2)});
  };
  std::vector<Variable> parts{token(cls_token_)};
  if (head_dist_) parts.push_back(token(dist_token_));
  Tokens t;
  t.num_special = static_cast<int64_t>(parts.size());
  parts.push_back(patch_embed_(images, pass));
  t.x = concat(parts, 1) + pos_embed_.effective(pass);
  for (const auto& block : blocks_) t = (*block)(t, pass);
  const Variable x = norm_(t.x, pass), cls = head_(select(x, 1, 0), pass);
  if (!head_dist_) return {.logits = cls, .heads = {}};
  const Variable dist = (*head_dist_)(select(x, 1, 1), pass);
  return {.logits = (cls + dist) * 0.5, .heads = {{"cls", cls}, {"dist", dist}}};
}

namespace {
/// dim, depth, heads, hidden and patch of one size; the rest comes from the data.
struct Size {
  int64_t dim, depth, num_heads, hidden_dim, patch_size;
  bool has_fan_in_init = false, has_dist_token = false;
};

auto maker(const Size& size) {
  return [size](const ModelOptions& o) -> std::unique_ptr<Model> {
    return std::make_unique<Vit>(VitConfig{.image_size = o.image_size,
                                           .patch_size = size.patch_size,
                                           .channels = o.channels,
                                           .num_classes = o.num_classes,
                                           .dim = size.dim,
                                           .depth = size.depth,
                                           .num_heads = size.num_heads,
                                           .hidden_dim = size.hidden_dim,
                                           .drop_path = o.drop_path,
                                           .has_fan_in_init = size.has_fan_in_init,
                                           .has_dist_token = size.has_dist_token});
  };
}

const char* const kVit = "arXiv:2010.11929";
const char* const kDeit = "arXiv:2012.12877";
const ModelOptions kFashionMnist{.num_classes = 10, .channels = 1, .image_size = 28};
const RegisteredModel models[] = {
    {"vit_tiny_patch16_224", "ViT, width 192, 12 blocks, 3 heads", kVit,
     maker({192, 12, 3, 768, 16})},
    {"vit_small_patch16_224", "ViT, width 384, 12 blocks, 6 heads", kVit,
     maker({384, 12, 6, 1536, 16})},
    {"vit_base_patch16_224", "ViT, width 768, 12 blocks, 12 heads", kVit,
     maker({768, 12, 12, 3072, 16})},
    {"vit_large_patch16_224", "ViT, width 1024, 24 blocks, 16 heads", kVit,
     maker({1024, 24, 16, 4096, 16})},
    {"deit_tiny_patch16_224", "DeiT, width 192, 12 blocks, 3 heads", kDeit,
     maker({192, 12, 3, 768, 16})},
    {"deit_small_patch16_224", "DeiT, width 384, 12 blocks, 6 heads", kDeit,
     maker({384, 12, 6, 1536, 16})},
    {"deit_base_patch16_224", "DeiT, width 768, 12 blocks, 12 heads", kDeit,
     maker({768, 12, 12, 3072, 16})},
    {"deit_tiny_distilled_patch16_224", "DeiT-Ti with a distillation token", kDeit,
     maker({192, 12, 3, 768, 16, false, true})},
    {"deit_small_distilled_patch16_224", "DeiT-S with a distillation token", kDeit,
     maker({384, 12, 6, 1536, 16, false, true})},
    {"deit_base_distilled_patch16_224", "DeiT-B with a distillation token", kDeit,
     maker({768, 12, 12, 3072, 16, false, true})},
    {"deit_mini_patch4_28", "DeiT for 28x28 images: width 96, 8 blocks, 3 heads, 49 patches", kDeit,
     maker({96, 8, 3, 384, 4, true}), kFashionMnist},
    {"vit_nano_patch4_28", "ViT for 28x28 images: width 64, 4 blocks, 4 heads, 49 patches", kVit,
     maker({64, 4, 4, 128, 4, true}), kFashionMnist},
    {"deit_micro_patch4_28", "DeiT for tests on 28x28 images: width 96, 6 blocks, 4 heads", kDeit,
     maker({96, 6, 4, 384, 4, true}), kFashionMnist},
};
}  // namespace

}  // namespace vtrain
