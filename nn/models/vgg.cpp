// VGG: Simonyan, Zisserman, ICLR 2015, arXiv:1409.1556, without and with batch normalisation.
//
//   3x3 convolutions, each with [bn and] relu, in five groups with a max pool 2x2 behind each;
//   average to 7x7; linear 4096, relu, dropout, twice; linear
//
// The convolutions keep their biases in front of a normalisation, as torchvision's do, whose
// weights load as they are. The variants for small images end in one linear layer, behind a global
// average or on all positions.
#include "nn/models/vgg.h"

#include "autograd/shape.h"

namespace vtrain {
namespace {
constexpr int64_t kSide = 7, kHidden = 4096;
}  // namespace

Vgg::Vgg(const VggConfig& config)
    : channels_(config.channels),
      head_(config.head),
      dropout1_(config.dropout),
      dropout2_(config.dropout) {
  int64_t in = config.channels, side = config.image_size, next = 0;
  const auto add_feature = [&](Module& module) { add(str("features.", next++), module); };
  for (const int64_t layer : config.layers) {
    Step& step = steps_.emplace_back();
    if (layer == VggConfig::kPool) {
      step.pool = std::make_unique<MaxPool2d>(Pool2dOptions{.kernel = 2});
      add_feature(*step.pool);
      side /= 2;
      continue;
    }
    step.conv = std::make_unique<Conv2d>(in, layer, Conv2dSettings{.kernel = 3, .padding = 1});
    add_feature(*step.conv);
    if (config.has_batch_norm) {
      step.bn = std::make_unique<BatchNorm2d>(layer);
      add_feature(*step.bn);
    }
    step.act = std::make_unique<Relu>();
    add_feature(*step.act);
    in = layer;
  }
  if (config.head == VggHead::kAverage) {
    classifier_ = std::make_unique<Linear>(in, config.num_classes);
    add("pool", pool1_);
    add("classifier", *classifier_);
  } else if (config.head == VggHead::kFlatten) {
    classifier_ = std::make_unique<Linear>(in * side * side, config.num_classes);
    add("classifier", *classifier_);
  } else {
    hidden1_ = std::make_unique<Linear>(in * kSide * kSide, kHidden);
    hidden2_ = std::make_unique<Linear>(kHidden, kHidden);
    classifier_ = std::make_unique<Linear>(kHidden, config.num_classes);
    add("pool", pool7_);
    add("classifier.0", *hidden1_);
    add("classifier.1", act1_);
    add("classifier.2", dropout1_);
    add("classifier.3", *hidden2_);
    add("classifier.4", act2_);
    add("classifier.5", dropout2_);
    add("classifier.6", *classifier_);
  }
  for (const Parameter& p : parameters()) {
    const bool is_bias = p.path().ends_with(".bias");
    if (p.value().ndim() == 4) p.set_init(Init::he_normal(fans_of(p.value().shape()).out));
    if (p.value().ndim() == 2) p.set_init(Init::normal(0.01));
    if (is_bias) p.set_init(Init::zeros());
  }
}

Outputs Vgg::outputs(const Variable& images, const Pass& pass) {
  if (images.ndim() != 4 || images.dim(1) != channels_) {
    throw ShapeError(str("[vgg] images ", images.shape(), ": expected (N, ", channels_, ", H, W)"));
  }
  Variable x = images;
  for (const Step& step : steps_) {
    if (step.pool) {
      x = (*step.pool)(x, pass);
      continue;
    }
    const Variable y = (*step.conv)(x, pass);
    x = step.bn ? batch_norm_act(*step.bn, y, *step.act, pass) : (*step.act)(y, pass);
  }
  return {.logits = classify(x, pass), .heads = {}};
}

Variable Vgg::classify(const Variable& features, const Pass& pass) {
  if (head_ == VggHead::kAverage) return (*classifier_)(pool1_(features, pass), pass);
  if (head_ == VggHead::kFlatten)
    return (*classifier_)(reshape(features, {features.dim(0), -1}), pass);
  const Variable flat = reshape(pool7_(features, pass), {features.dim(0), -1});
  const Variable hidden = dropout1_(act1_((*hidden1_)(flat, pass), pass), pass);
  return (*classifier_)(dropout2_(act2_((*hidden2_)(hidden, pass), pass), pass), pass);
}

namespace {

constexpr int64_t kM = VggConfig::kPool;
const std::vector<int64_t> kA = {64, kM, 128, kM, 256, 256, kM, 512, 512, kM, 512, 512, kM};
const std::vector<int64_t> kB = {64, 64,  kM,  128, 128, kM,  256, 256,
                                 kM, 512, 512, kM,  512, 512, kM};
const std::vector<int64_t> kD = {64, 64,  kM,  128, 128, kM,  256, 256, 256,
                                 kM, 512, 512, 512, kM,  512, 512, 512, kM};
const std::vector<int64_t> kE = {64,  64,  kM,  128, 128, kM,  256, 256, 256, 256, kM,
                                 512, 512, 512, 512, kM,  512, 512, 512, 512, kM};
const std::vector<int64_t> kTiny = {16, kM, 32, kM, 64, 64, kM};
const std::vector<int64_t> kThree = {16, kM, 32, kM, 64};
/// Two groups of `convs` convolutions, of `width` and twice as many channels: 14x14 becomes 3x3.
std::vector<int64_t> two_groups(int64_t width, size_t convs) {
  std::vector<int64_t> layers(convs, width);
  layers.push_back(kM);
  layers.insert(layers.end(), convs, 2 * width);
  layers.push_back(kM);
  return layers;
}

auto maker(const std::vector<int64_t>& layers, bool has_batch_norm,
           VggHead head = VggHead::kThreeLayers) {
  return [=](const ModelOptions& options) -> std::unique_ptr<Model> {
    refuse_drop_path("vgg", options);
    return std::make_unique<Vgg>(VggConfig{.layers = layers,
                                           .has_batch_norm = has_batch_norm,
                                           .head = head,
                                           .channels = options.channels,
                                           .num_classes = options.num_classes,
                                           .image_size = options.image_size});
  };
}

const char* const kPaper = "arXiv:1409.1556";
const ModelOptions kCifar10{.num_classes = 10, .channels = 3, .image_size = 32};
const ModelOptions kFashionMnist{.num_classes = 10, .channels = 1, .image_size = 28};
const ModelOptions kHalfSide{.num_classes = 10, .channels = 1, .image_size = 14};
const RegisteredModel models[] = {
    {"vgg11", "VGG, 11 layers", kPaper, maker(kA, false)},
    {"vgg13", "VGG, 13 layers", kPaper, maker(kB, false)},
    {"vgg16", "VGG, 16 layers", kPaper, maker(kD, false)},
    {"vgg19", "VGG, 19 layers", kPaper, maker(kE, false)},
    {"vgg11_bn", "VGG with batch normalisation, 11 layers", kPaper, maker(kA, true)},
    {"vgg13_bn", "VGG with batch normalisation, 13 layers", kPaper, maker(kB, true)},
    {"vgg16_bn", "VGG with batch normalisation, 16 layers", kPaper, maker(kD, true)},
    {"vgg19_bn", "VGG with batch normalisation, 19 layers", kPaper, maker(kE, true)},
    {"vgg16_bn_cifar", "VGG-16 with batch normalisation for 32x32 images: one linear layer", kPaper,
     maker(kD, true, VggHead::kAverage), kCifar10},
    {"vgg_bn_28", "VGG with batch normalisation for 28x28 images: 4 convolutions, widths 16 to 64",
     kPaper, maker(kTiny, true, VggHead::kAverage), kFashionMnist},
    {"vgg3_bn_28", "VGG with batch normalisation for 28x28 images: 3 convolutions, widths 16 to 64",
     kPaper, maker(kThree, true, VggHead::kAverage), kFashionMnist},
    {"vgg2_bn_14", "VGG with batch normalisation for 14x14 images: 2 convolutions, widths 8, 16",
     kPaper, maker(two_groups(8, 1), true, VggHead::kFlatten), kHalfSide},
    {"vgg2_bn_14_x2", "the same, twice as wide", kPaper,
     maker(two_groups(16, 1), true, VggHead::kFlatten), kHalfSide},
    {"vgg4_bn_14_x2", "the same, twice as wide, 4 convolutions", kPaper,
     maker(two_groups(16, 2), true, VggHead::kFlatten), kHalfSide},
    {"vgg4_bn_14_x3", "the same, three times as wide, 4 convolutions", kPaper,
     maker(two_groups(24, 2), true, VggHead::kFlatten), kHalfSide},
};

}  // namespace
}  // namespace vtrain
