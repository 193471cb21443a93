// LeNet-300-100: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
// Recognition", Proceedings of the IEEE 86(11), 1998, section III.C.
//
//   pixels in one row; linear 300, relu; linear 100, relu; linear
//
// The fully connected network that papers on pruning weights begin with (arXiv:1506.02626,
// arXiv:1608.04493). It had tanh-like units and 28x28 images of one channel; here it has relu, as
// in those papers, and takes what size the data has.
#include "autograd/shape.h"
#include "nn/layers/activation.h"
#include "nn/layers/linear.h"
#include "nn/models/model.h"

namespace vtrain {
namespace {

/// images (N, channels, side, side) -> logits (N, num_classes)
class LeNet300 final : public Model {
 public:
  explicit LeNet300(const ModelOptions& o)
      : channels_(o.channels),
        side_(o.image_size),
        fc1_(o.channels * o.image_size * o.image_size, 300),
        fc2_(300, 100),
        fc3_(100, o.num_classes) {
    add("fc1", fc1_);
    add("act1", act1_);
    add("fc2", fc2_);
    add("act2", act2_);
    add("fc3", fc3_);
    for (const Parameter& p : parameters()) {
      const bool is_bias = p.value().ndim() == 1;
      p.set_init(is_bias ? Init::zeros() : Init::he_normal(fans_of(p.value().shape()).in));
    }
  }

  Outputs outputs(const Variable& images, const Pass& pass) override {
    if (images.ndim() != 4 || images.dim(1) != channels_ || images.dim(2) != side_ ||
        images.dim(3) != side_) {
      throw ShapeError(str("[lenet_300_100] images ", images.shape(), ": expected (N, ", channels_,
                           ", ", side_, ", ", side_, ")"));
    }
    const Variable pixels = reshape(images, {images.dim(0), -1});
    const Variable first = act1_(fc1_(pixels, pass), pass);
    const Variable second = act2_(fc2_(first, pass), pass);
    return {.logits = fc3_(second, pass), .heads = {}};
  }

 private:
  int64_t channels_, side_;
  Linear fc1_, fc2_, fc3_;
  Relu act1_, act2_;
};

const RegisteredModel model("lenet_300_100", "two hidden layers, of 300 and 100",
                            "Proc. IEEE 86(11)",
                            [](const ModelOptions& options) -> std::unique_ptr<Model> {
                              refuse_drop_path("lenet_300_100", options);
                              return std::make_unique<LeNet300>(options);
                            },
                            {.num_classes = 10, .channels = 1, .image_size = 28});

}  // namespace
}  // namespace vtrain
