// Residual networks of ImageNet, 18 to 101 layers deep: He, Zhang, Ren, Sun, CVPR 2016,
// arXiv:1512.03385.
//
//   stem; four stages of widths w, 2 w, 4 w, 8 w, the last three halve the image; average; fc
//   basic       relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))               3x3, 3x3
//   bottleneck  the same with three convolutions, 1x1, 3x3, 1x1, the last to 4 times the width
//
// The shortcut is x, or a 1x1 convolution and a normalisation where size or width change (option
// B). In a bottleneck the stride stands on the 3x3 (v1.5), where the paper has it on the first 1x1.
// Parameter names are torchvision's, whose weights load as they are. The variants for small images,
// with a 3x3 stem and no pool, are those common for CIFAR.
#include "nn/models/resnet.h"

#include <cmath>

namespace vtrain {
namespace {

Conv2dSettings conv1x1(int64_t stride) {
  return {.kernel = 1, .stride = stride, .has_bias = false};
}
Conv2dSettings conv3x3(int64_t stride) {
  return {.kernel = 3, .stride = stride, .padding = 1, .has_bias = false};
}
Conv2dSettings stem_settings(Stem stem) {
  if (stem == Stem::kSmall) return conv3x3(1);
  return {.kernel = 7, .stride = 2, .padding = 3, .has_bias = false};
}

/// Option B: a 1x1 convolution and its normalisation.
class Downsample final : public Module {
 public:
  Downsample(int64_t in, int64_t out, int64_t stride) : conv_(in, out, conv1x1(stride)), bn_(out) {
    add("0", conv_);
    add("1", bn_);
  }
  Variable forward(const Variable& x, const Pass& pass) override {
    return bn_(conv_(x, pass), pass);
  }

 private:
  Conv2d conv_;
  BatchNorm2d bn_;
};

/// nullptr where x fits as it is.
std::unique_ptr<Downsample> shortcut(int64_t in, int64_t out, int64_t stride) {
  if (in == out && stride == 1) return nullptr;
  return std::make_unique<Downsample>(in, out, stride);
}

class BasicBlock final : public Module {
 public:
  BasicBlock(int64_t in, int64_t width, int64_t stride)
      : conv1_(in, width, conv3x3(stride)),
        bn1_(width),
        conv2_(width, width, conv3x3(1)),
        bn2_(width),
        downsample_(shortcut(in, width, stride)) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("act1", act1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    if (downsample_) add("downsample", *downsample_);
    add("add", add_);
    add("act2", act2_);
  }

  Variable forward(const Variable& x, const Pass& pass) override {
    const Variable hidden = batch_norm_act(bn1_, conv1_(x, pass), act1_, pass);
    const Variable kept = downsample_ ? (*downsample_)(x, pass) : x;
    return batch_norm_add_act(bn2_, conv2_(hidden, pass), add_, kept, act2_, pass);
  }

 private:
  using Module::add;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Relu act1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  std::unique_ptr<Downsample> downsample_;
  Add add_;
  Relu act2_;
};

constexpr int64_t kExpansion = 4;  // of a bottleneck

class Bottleneck final : public Module {
 public:
  Bottleneck(int64_t in, int64_t width, int64_t stride, bool has_stride_on_3x3)
      : conv1_(in, width, conv1x1(has_stride_on_3x3 ? 1 : stride)),
        bn1_(width),
        conv2_(width, width, conv3x3(has_stride_on_3x3 ? stride : 1)),
        bn2_(width),
        conv3_(width, kExpansion * width, conv1x1(1)),
        bn3_(kExpansion * width),
        downsample_(shortcut(in, kExpansion * width, stride)) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("act1", act1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    add("act2", act2_);
    add("conv3", conv3_);
    add("bn3", bn3_);
    if (downsample_) add("downsample", *downsample_);
    add("add", add_);
    add("act3", act3_);
  }

  Variable forward(const Variable& x, const Pass& pass) override {
    const Variable narrow = batch_norm_act(bn1_, conv1_(x, pass), act1_, pass);
    const Variable hidden = batch_norm_act(bn2_, conv2_(narrow, pass), act2_, pass);
    const Variable kept = downsample_ ? (*downsample_)(x, pass) : x;
    return batch_norm_add_act(bn3_, conv3_(hidden, pass), add_, kept, act3_, pass);
  }

 private:
  using Module::add;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Relu act1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Relu act2_;
  Conv2d conv3_;
  BatchNorm2d bn3_;
  std::unique_ptr<Downsample> downsample_;
  Add add_;
  Relu act3_;
};

int64_t features_of(const ResNetConfig& c) {
  return c.width * 8 * (c.has_bottlenecks ? kExpansion : 1);
}

}  // namespace

ResNet::ResNet(const ResNetConfig& config)
    : config_(config),
      conv1_(config.channels, config.width, stem_settings(config.stem)),
      bn1_(config.width),
      fc_(features_of(config), config.num_classes) {
  add("conv1", conv1_);
  add("bn1", bn1_);
  add("act1", act1_);
  if (config.stem == Stem::kImageNet) {
    max_pool_ = std::make_unique<MaxPool2d>(Pool2dOptions{.kernel = 3, .stride = 2, .padding = 1});
    add("max_pool", *max_pool_);
  }
  int64_t in = config.width, width = config.width;
  for (size_t stage = 0; stage < config.blocks.size(); ++stage, width *= 2) {
    for (int64_t i = 0; i < config.blocks[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      if (config.has_bottlenecks) {
        blocks_.push_back(
            std::make_unique<Bottleneck>(in, width, stride, config.has_stride_on_3x3));
        in = kExpansion * width;
      } else {
        blocks_.push_back(std::make_unique<BasicBlock>(in, width, stride));
        in = width;
      }
      add(str("layer", stage + 1, '.', i), *blocks_.back());
    }
  }
  add("pool", pool_);
  add("fc", fc_);

  const Init fc_init = Init::uniform(1 / std::sqrt(static_cast<double>(in)));
  const char* const last_norm = config.has_bottlenecks ? ".bn3.weight" : ".bn2.weight";
  for (const Parameter& p : parameters()) {
    if (p.path().starts_with("fc."))
      p.set_init(fc_init);
    else if (p.value().ndim() == 4)
      p.set_init(Init::he_normal(fans_of(p.value().shape()).out));
    else if (config.zero_init_residual && p.path().ends_with(last_norm))
      p.set_init(Init::zeros());
  }
}

Outputs ResNet::outputs(const Variable& images, const Pass& pass) {
  if (images.ndim() != 4 || images.dim(1) != config_.channels) {
    throw ShapeError(
        str("[resnet] images ", images.shape(), ": expected (N, ", config_.channels, ", H, W)"));
  }
  Variable x = batch_norm_act(bn1_, conv1_(images, pass), act1_, pass);
  if (max_pool_) x = (*max_pool_)(x, pass);
  for (const auto& block : blocks_) x = (*block)(x, pass);
  return {.logits = fc_(pool_(x, pass), pass), .heads = {}};
}

namespace {

auto maker(const ResNetConfig& sizes) {
  return [sizes](const ModelOptions& options) -> std::unique_ptr<Model> {
    refuse_drop_path("resnet", options);
    ResNetConfig config = sizes;
    config.channels = options.channels;
    config.num_classes = options.num_classes;
    return std::make_unique<ResNet>(config);
  };
}

const ResNetConfig k18{.blocks = {2, 2, 2, 2}};
const ResNetConfig k34{.blocks = {3, 4, 6, 3}};
const ResNetConfig k50{.blocks = {3, 4, 6, 3}, .has_bottlenecks = true};
const ResNetConfig k101{.blocks = {3, 4, 23, 3}, .has_bottlenecks = true};
ResNetConfig small(ResNetConfig config) {
  config.stem = Stem::kSmall;
  return config;
}

const char* const kPaper = "arXiv:1512.03385";
const ModelOptions kCifar10{.num_classes = 10, .channels = 3, .image_size = 32};
const RegisteredModel models[] = {
    {"resnet18", "ResNet-18, widths 64 to 512", kPaper, maker(k18)},
    {"resnet34", "ResNet-34, widths 64 to 512", kPaper, maker(k34)},
    {"resnet50", "ResNet-50 v1.5, bottlenecks of widths 64 to 512", kPaper, maker(k50)},
    {"resnet101", "ResNet-101 v1.5, bottlenecks of widths 64 to 512", kPaper, maker(k101)},
    {"resnet18_cifar", "ResNet-18 with a 3x3 stem for small images", kPaper, maker(small(k18)),
     kCifar10},
    {"resnet34_cifar", "ResNet-34 with a 3x3 stem for small images", kPaper, maker(small(k34)),
     kCifar10},
    {"resnet50_cifar", "ResNet-50 with a 3x3 stem for small images", kPaper, maker(small(k50)),
     kCifar10},
};

}  // namespace
}  // namespace vtrain
