// MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, CVPR 2018, arXiv:1801.04381.
//
//   conv 3x3, stride 2; rows of inverted residuals; conv 1x1; average; dropout; linear
//   block: [1x1 to t times the channels, bn, relu6], depthwise 3x3, bn, relu6, 1x1, bn [+ x]
//
// Without the 1x1 in front where t = 1, and with the sum where input and output have one shape. No
// activation stands behind a block: its output is a linear bottleneck. Parameter names are
// torchvision's, whose weights load as they are.
#include "nn/models/mobilenet_v2.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

int64_t make_divisible_by_8(double v) {
  const int64_t nearest = std::max<int64_t>(8, static_cast<int64_t>(v + 4) / 8 * 8);
  return static_cast<double>(nearest) < 0.9 * v ? nearest + 8 : nearest;
}

namespace {

/// Convolution without bias, normalisation and ReLU6.
class ConvBnAct final : public Module {
 public:
  ConvBnAct(int64_t in, int64_t out, Conv2dSettings settings) : conv_(in, out, settings), bn_(out) {
    add("0", conv_);
    add("1", bn_);
    add("2", act_);
  }
  Variable forward(const Variable& x, const Pass& pass) override {
    return batch_norm_act(bn_, conv_(x, pass), act_, pass);
  }

 private:
  Conv2d conv_;
  BatchNorm2d bn_;
  Relu act_{/*is_capped_at_6=*/true};
};

Conv2dSettings conv1x1() { return {.kernel = 1, .has_bias = false}; }
Conv2dSettings conv3x3(int64_t stride, int64_t groups = 1) {
  return {.kernel = 3, .stride = stride, .padding = 1, .groups = groups, .has_bias = false};
}

class InvertedResidual final : public Module {
 public:
  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion)
      : depthwise_(expansion * in, expansion * in, conv3x3(stride, expansion * in)),
        project_(expansion * in, out, conv1x1()),
        bn_(out),
        has_shortcut_(stride == 1 && in == out) {
    int64_t next = 0;
    if (expansion != 1) {
      expand_ = std::make_unique<ConvBnAct>(in, expansion * in, conv1x1());
      add(str("conv.", next++), *expand_);
    }
    add(str("conv.", next++), depthwise_);
    add(str("conv.", next++), project_);
    add(str("conv.", next++), bn_);
    if (has_shortcut_) add("add", add_);
  }

  Variable forward(const Variable& x, const Pass& pass) override {
    const Variable wide = expand_ ? (*expand_)(x, pass) : x;
    const Variable y = bn_(project_(depthwise_(wide, pass), pass), pass);
    return has_shortcut_ ? add_(y, x, pass) : y;
  }

 private:
  using Module::add;
  std::unique_ptr<ConvBnAct> expand_;  // undefined where the expansion is 1
  ConvBnAct depthwise_;
  Conv2d project_;
  BatchNorm2d bn_;
  bool has_shortcut_;
  Add add_;
};

}  // namespace

MobileNetV2::MobileNetV2(const MobileNetV2Config& c) : channels_(c.channels) {
  const auto scaled = [&c](int64_t channels) {
    return make_divisible_by_8(c.width_mult * static_cast<double>(channels));
  };
  int64_t in = scaled(c.stem_channels);
  features_.push_back(std::make_unique<ConvBnAct>(c.channels, in, conv3x3(c.stem_stride)));
  for (const InvertedResiduals& row : c.rows) {
    const int64_t out = scaled(row.channels);
    for (int64_t i = 0; i < row.count; ++i) {
      const int64_t stride = i == 0 ? row.stride : 1;
      features_.push_back(std::make_unique<InvertedResidual>(in, out, stride, row.expansion));
      in = out;
    }
  }
  const int64_t head =
      make_divisible_by_8(std::max(1.0, c.width_mult) * static_cast<double>(c.head_channels));
  features_.push_back(std::make_unique<ConvBnAct>(in, head, conv1x1()));
  dropout_ = std::make_unique<Dropout>(c.dropout);
  linear_ = std::make_unique<Linear>(head, c.num_classes);
  for (size_t i = 0; i < features_.size(); ++i) add(str("features.", i), *features_[i]);
  add("pool", pool_);
  add("classifier.0", *dropout_);
  add("classifier.1", *linear_);

  for (const Parameter& p : parameters()) {
    if (p.value().ndim() == 4) p.set_init(Init::he_normal(fans_of(p.value().shape()).out));
    if (p.value().ndim() == 2) p.set_init(Init::normal(0.01));
  }
}

Outputs MobileNetV2::outputs(const Variable& images, const Pass& pass) {
  if (images.ndim() != 4 || images.dim(1) != channels_) {
    throw ShapeError(
        str("[mobilenet_v2] images ", images.shape(), ": expected (N, ", channels_, ", H, W)"));
  }
  Variable x = images;
  for (const auto& feature : features_) x = (*feature)(x, pass);
  return {.logits = (*linear_)((*dropout_)(pool_(x, pass), pass), pass), .heads = {}};
}

namespace {

auto maker(const MobileNetV2Config& sizes) {
  return [sizes](const ModelOptions& options) -> std::unique_ptr<Model> {
    refuse_drop_path("mobilenet_v2", options);
    MobileNetV2Config config = sizes;
    config.channels = options.channels;
    config.num_classes = options.num_classes;
    return std::make_unique<MobileNetV2>(config);
  };
}

MobileNetV2Config wide(double width_mult) {
  MobileNetV2Config config;
  config.width_mult = width_mult;
  return config;
}

/// Keeps the resolution of 32x32 images through the stem and the second row.
MobileNetV2Config cifar() {
  MobileNetV2Config config;
  config.stem_stride = 1;
  config.rows[1].stride = 1;
  return config;
}

MobileNetV2Config tiny() {
  MobileNetV2Config config;
  config.stem_channels = 16;
  config.stem_stride = 1;
  config.rows = {{1, 8, 1, 1}, {4, 16, 2, 2}, {4, 24, 2, 2}, {4, 32, 1, 1}};
  config.head_channels = 128;
  return config;
}

const char* const kPaper = "arXiv:1801.04381";
const ModelOptions kCifar10{.num_classes = 10, .channels = 3, .image_size = 32};
const ModelOptions kFashionMnist{.num_classes = 10, .channels = 1, .image_size = 28};
const RegisteredModel models[] = {
    {"mobilenet_v2", "MobileNetV2", kPaper, maker(wide(1))},
    {"mobilenet_v2_050", "MobileNetV2, half as wide", kPaper, maker(wide(0.5))},
    {"mobilenet_v2_075", "MobileNetV2, 0.75 times as wide", kPaper, maker(wide(0.75))},
    {"mobilenet_v2_140", "MobileNetV2, 1.4 times as wide", kPaper, maker(wide(1.4))},
    {"mobilenet_v2_cifar", "MobileNetV2 for 32x32 images: two strides less", kPaper, maker(cifar()),
     kCifar10},
    {"mobilenet_v2_28", "MobileNetV2 for 28x28 images: 6 blocks, widths 8 to 32", kPaper,
     maker(tiny()), kFashionMnist},
};

}  // namespace
}  // namespace vtrain
