// Residual networks for 32x32 images, 6 n + 2 layers deep: He, Zhang, Ren, Sun, "Deep Residual
// Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, section 4.2.
//
//   conv 3x3 16, bn, relu; three stages of n blocks, widths 16, 32, 64, strides 1, 2, 2; average;
//   linear block: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))
//
// Where the width doubles the shortcut is the paper's option A, without parameters: every second
// row and column, with half of the new channels of zeros before the old ones and half behind.
// Parameter names and this split are those of akamaster's pytorch_resnet_cifar10, whose weights
// load as they are.
#include <array>
#include <cmath>
#include <vector>

#include "autograd/shape.h"
#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "nn/models/model.h"

namespace vtrain {
namespace {

/// Option A. Adds nothing where sizes agree.
class Shortcut final : public Module {
 public:
  Shortcut(int64_t in, int64_t out, int64_t stride)
      : stride_(stride), front_((out - in) / 2), back_(out - in - front_) {}
  Variable forward(const Variable& x, const Pass&) override {
    if (stride_ == 1 && front_ + back_ == 0) return x;
    return pad_channels(subsample(x, stride_), front_, back_);
  }
  std::map<std::string, double> structure() const override {
    return {{"front", static_cast<double>(front_)}, {"back", static_cast<double>(back_)}};
  }
  void set_structure(const std::map<std::string, double>& numbers) override {
    for (const auto& [name, number] : numbers)
      (name == "front" ? front_ : back_) =
          whole_number(path(), name, number, {{"front", 0}, {"back", 0}});
  }

 private:
  int64_t stride_, front_, back_;
};

Conv2dSettings conv3x3(int64_t stride) {
  return {.kernel = 3, .stride = stride, .padding = 1, .has_bias = false};
}

class BasicBlock final : public Module {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride)
      : conv1_(in, out, conv3x3(stride)),
        bn1_(out),
        conv2_(out, out, conv3x3(1)),
        bn2_(out),
        shortcut_(in, out, stride) {
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("act1", act1_);
    add("conv2", conv2_);
    add("bn2", bn2_);
    add("shortcut", shortcut_);
    add("add", add_);
    add("act2", act2_);
  }

  Variable forward(const Variable& x, const Pass& pass) override {
    const Variable hidden = batch_norm_act(bn1_, conv1_(x, pass), act1_, pass);
    return batch_norm_add_act(bn2_, conv2_(hidden, pass), add_, shortcut_(x, pass), act2_, pass);
  }

 private:
  using Module::add;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Relu act1_;
  Conv2d conv2_;
  BatchNorm2d bn2_;
  Shortcut shortcut_;
  Add add_;
  Relu act2_;
};

using Widths = std::array<int64_t, 3>;  // of the stages

class ResNetCifar final : public Model {
 public:
  ResNetCifar(int64_t blocks_per_stage, const Widths& widths, const ModelOptions& options)
      : channels_(options.channels),
        conv1_(options.channels, widths[0], conv3x3(1)),
        bn1_(widths[0]),
        linear_(widths[2], options.num_classes) {
    refuse_drop_path("resnet", options);
    add("conv1", conv1_);
    add("bn1", bn1_);
    add("act1", act1_);
    int64_t in = widths[0];
    for (size_t stage = 0; stage < 3; ++stage) {
      for (int64_t i = 0; i < blocks_per_stage; ++i) {
        const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
        blocks_.push_back(std::make_unique<BasicBlock>(in, widths[stage], stride));
        add(str("layer", stage + 1, '.', i), *blocks_.back());
        in = widths[stage];
      }
    }
    add("pool", pool_);
    add("linear", linear_);
    initialise_as_published(in);
  }

  Outputs outputs(const Variable& images, const Pass& pass) override {
    if (images.ndim() != 4 || images.dim(1) != channels_) {
      throw ShapeError(
          str("[resnet] images ", images.shape(), ": expected (N, ", channels_, ", H, W)"));
    }
    Variable x = batch_norm_act(bn1_, conv1_(images, pass), act1_, pass);
    for (const auto& block : blocks_) x = (*block)(x, pass);
    return {.logits = linear_(pool_(x, pass), pass), .heads = {}};
  }

 private:
  /// He's normal initialisation of every matrix; the classifier's bias as PyTorch starts it.
  void initialise_as_published(int64_t features) {
    for (const Parameter& p : parameters()) {
      if (p.value().ndim() >= 2) p.set_init(Init::he_normal(fans_of(p.value().shape()).in));
      if (p.path() == "linear.bias")
        p.set_init(Init::uniform(1 / std::sqrt(static_cast<double>(features))));
    }
  }

  int64_t channels_;
  Conv2d conv1_;
  BatchNorm2d bn1_;
  Relu act1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  GlobalAveragePool pool_;
  Linear linear_;
};

auto maker(int64_t depth, const Widths& widths = {16, 32, 64}) {
  return [depth, widths](const ModelOptions& options) -> std::unique_ptr<Model> {
    return std::make_unique<ResNetCifar>((depth - 2) / 6, widths, options);
  };
}

const char* const kPaper = "arXiv:1512.03385";
const ModelOptions kCifar10{.num_classes = 10, .channels = 3, .image_size = 32};
const ModelOptions kFashionMnist{.num_classes = 10, .channels = 1, .image_size = 28};
const RegisteredModel models[] = {
    {"resnet8_28", "ResNet-8 for 28x28 images, widths 8, 16, 32", kPaper, maker(8, {8, 16, 32}),
     kFashionMnist},
    {"resnet8_x2_28", "ResNet-8 for 28x28 images, widths 16, 32, 64", kPaper, maker(8),
     kFashionMnist},
    {"resnet20", "ResNet-20 for 32x32 images, widths 16, 32, 64", kPaper, maker(20), kCifar10},
    {"resnet32", "ResNet-32 for 32x32 images, widths 16, 32, 64", kPaper, maker(32), kCifar10},
    {"resnet44", "ResNet-44 for 32x32 images, widths 16, 32, 64", kPaper, maker(44), kCifar10},
    {"resnet56", "ResNet-56 for 32x32 images, widths 16, 32, 64", kPaper, maker(56), kCifar10},
    {"resnet110", "ResNet-110 for 32x32 images, widths 16, 32, 64", kPaper, maker(110), kCifar10},
};

}  // namespace
}  // namespace vtrain
