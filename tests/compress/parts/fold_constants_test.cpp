#include "compress/parts/fold_constants.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"
#include "compress/edit.h"
#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/layers/global_average_pool.h"
#include "nn/layers/linear.h"
#include "nn/models/model.h"
#include "tensor/random.h"
#include "tests/cutting.h"

namespace vtrain {
namespace {

struct Folding {
  double difference = 0;  // literal mask against folded and cut
  double dropped = 0;     // literal mask against cut without folding
  FoldedConstants folded;
};

/// Half of the groups that `wanted` takes.
template <class Wanted>
Folding fold(const std::string& model, const ModelOptions& options, const Wanted& wanted) {
  Folding result;
  for (const bool is_folding : {true, false}) {
    Network network({.model = model, .options = options, .parts = {}});
    make_trained(network, 5);
    const CutGroups groups(network);
    Cut cut = lowest(network, groups, 0.5, CutScore::kRandom, 7);
    for (size_t g = 0; g < cut.size(); ++g) {
      if (!wanted(groups.groups()[g])) cut[g].clear();
    }
    widen(network);
    const Tensor images =
        Random(9, "", "images")
            .normal({2, options.channels, options.image_size, options.image_size}, {})
            .channels_last();
    zero_rows(network, groups, cut);
    const Tensor literal = logits_of(network, images);
    if (is_folding) {
      result.folded = fold_constants(network, groups, cut);
      CHECK(relative_difference(literal, logits_of(network, images)) > 1e-6);  // counted twice now
    }
    network.cut(groups.plan(cut));
    (is_folding ? result.difference : result.dropped) =
        relative_difference(literal, logits_of(network, images));
  }
  return result;
}

const ModelOptions kSmall{.num_classes = 10, .channels = 3, .image_size = 16};
const ModelOptions kGrey{.num_classes = 10, .channels = 1, .image_size = 28};

TEST_CASE("fold constants: hidden units and values of a transformer leave their biases behind") {
  const Folding result = fold("deit_micro_patch4_28", kGrey,
                              [](const CutGroup& group) { return !group.is_normalised; });
  CHECK(result.folded.is_exact);
  CHECK(result.folded.channels == 6 * (192 + 12 * 4));  // 12 of 24 value dimensions, 4 heads
  CHECK(result.difference < 1e-10);
  CHECK(result.dropped > 1e-3);
}

TEST_CASE(
    "fold constants: behind a batch norm they move into the next one where nothing is padded") {
  // Rows of the 3x3 convolutions: the 1x1 that reads them has no padding.
  const auto by_place = [](const CutGroup& group) { return group.name.ends_with("conv2"); };
  const Folding result =
      fold("resnet50_cifar", {.num_classes = 10, .channels = 3, .image_size = 8}, by_place);
  CHECK(result.folded.is_exact);
  CHECK(result.folded.channels > 0);
  CHECK(result.difference < 1e-10);
  CHECK(result.dropped > 1e-3);
}

TEST_CASE("fold constants: a padded border is not the constant, and that is said") {
  const Folding result =
      fold("resnet20", kSmall, [](const CutGroup& group) { return !group.is_residual; });
  CHECK(!result.folded.is_exact);
  CHECK(result.difference > 1e-6);
  CHECK(result.difference < 0.5 * result.dropped);  // most of it is saved all the same
}

/// A convolution with batch norm, a grouped one of 1x1 with a bias, classes.
class GroupedNet final : public Model {
 public:
  explicit GroupedNet(const ModelOptions& o)
      : conv_(o.channels, 12, {.kernel = 3, .padding = 1, .has_bias = false}),
        bn_(12),
        grouped_(12, 6, {.kernel = 1, .groups = 3}),
        fc_(6, o.num_classes) {
    add("conv", conv_);
    add("bn", bn_);
    add("grouped", grouped_);
    add("pool", pool_);
    add("fc", fc_);
  }
  Outputs outputs(const Variable& images, const Pass& pass) override {
    const Variable hidden = relu(bn_(conv_(images, pass), pass));
    return {.logits = fc_(pool_(relu(grouped_(hidden, pass)), pass), pass), .heads = {}};
  }

 private:
  using Module::add;
  Conv2d conv_;
  BatchNorm2d bn_;
  Conv2d grouped_;
  GlobalAveragePool pool_;
  Linear fc_;
};
const RegisteredModel registered("test_grouped", "of fold_constants_test", "",
                                 [](const ModelOptions& o) -> std::unique_ptr<Model> {
                                   return std::make_unique<GroupedNet>(o);
                                 });

TEST_CASE("fold constants: inputs of a grouped convolution reach the rows of their own group") {
  const Folding result = fold("test_grouped", {.num_classes = 10, .channels = 3, .image_size = 8},
                              [](const CutGroup& group) { return group.name == "conv"; });
  CHECK(result.folded.is_exact);
  CHECK(result.folded.channels > 1);  // the others are behind the ReLU's zero
  CHECK(result.difference < 1e-10);
  CHECK(result.dropped > 1e-3);
}

TEST_CASE("fold constants: channels of a layer norm are refused by name") {
  Network network({.model = "vit_nano_patch4_28", .options = kGrey, .parts = {}});
  make_trained(network, 5);
  const CutGroups groups(network);
  Cut cut = groups.nothing();
  for (size_t g = 0; g < cut.size(); ++g) {
    if (groups.groups()[g].is_normalised) cut[g] = {0};
  }
  CHECK_THROWS_WITH_AS(fold_constants(network, groups, cut), doctest::Contains("layer norm"),
                       Error);
}

}  // namespace
}  // namespace vtrain
