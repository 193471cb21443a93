#include "compress/deploy/plan.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "compress/deploy/compare.h"
#include "nn/graph.h"
#include "nn/module_registry.h"
#include "tensor/onednn.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

/// A network as training leaves it: scales, shifts and statistics far from 1 and 0.
void randomise(Network& network) {
  network.initialise(1);
  for (Parameter p : network.parameters()) {
    const Tensor& value = p.value();
    if (value.ndim() != 1) continue;
    const bool is_variance = p.path().ends_with("running_var"),
               is_scale = p.path().ends_with(".weight");
    std::vector<double> v = Random(2, "", p.path()).uniform(value.shape(), {}).to_vector();
    for (double& x : v) x = is_variance ? 0.5 + 1.5 * x : is_scale ? 0.6 + 0.8 * x : 0.6 * x - 0.3;
    p.set(from_values(value.shape(), v));
  }
}

std::unique_ptr<Network> network_of(const std::string& model, const ModelOptions& options,
                                    const std::vector<PartRecord>& parts = {}) {
  auto network =
      std::make_unique<Network>(Architecture{.model = model, .options = options, .parts = parts});
  randomise(*network);
  return network;
}

Tensor images_of(const Network& network, int64_t count) {
  const ModelOptions& o = network.architecture().options;
  return Random(3, "", "images")
      .normal({count, o.channels, o.image_size, o.image_size}, {})
      .channels_last();
}

ModelOptions pictures(int64_t size, int64_t channels = 3) {
  return {.num_classes = 10, .channels = channels, .image_size = size};
}

constexpr double kPromised = 1e-5;  // of max |logit|: plan.h

/// One plan serves batches of these sizes in turn.
void check_agreement(Network& network, const std::vector<int64_t>& batches) {
  Plan plan(network);
  for (const int64_t batch : batches) {
    CAPTURE(batch);
    const Tensor images = images_of(network, batch);
    const Tensor logits = plan.run(images);
    CHECK(logits.dtype() == DType::f32);
    CHECK(max_relative_difference(logits, network.logits(images)) <= kPromised);
  }
  const PlanDifference difference = compare(plan, network, images_of(network, 2), 1e-4);
  CHECK_MESSAGE(difference.first_layer.empty(), "first in ", difference.first_layer, ": ",
                difference.worst_layer);
}

TEST_CASE("plan: residual networks give the eager logits, for batches of any size in turn") {
  check_agreement(*network_of("resnet8_28", pictures(28, 1)), {1, 3, 64, 1});
  check_agreement(*network_of("resnet20", pictures(32)), {1, 3, 64, 1});
  check_agreement(*network_of("resnet18", pictures(40)), {1, 3, 17, 1});
  check_agreement(*network_of("resnet50", pictures(64)), {1, 3, 1});
}

TEST_CASE("plan: other convolutional networks give the eager logits") {
  check_agreement(*network_of("mobilenet_v2", pictures(64)), {1, 3, 17, 1});
  check_agreement(*network_of("vgg_bn_28", pictures(28, 1)), {1, 3, 64, 1});
  check_agreement(*network_of("vgg11", pictures(32)), {1, 2});
}

TEST_CASE("plan: transformers give the eager logits") {
  check_agreement(*network_of("vit_nano_patch4_28", pictures(28, 1)), {1, 3, 64, 1});
  check_agreement(*network_of("deit_mini_patch4_28", pictures(28, 1)), {1, 3, 17, 1});
  check_agreement(*network_of("deit_tiny_distilled_patch16_224", pictures(48)), {1, 3, 1});
}

PartRecord keep_top(int block, int64_t k, bool is_random) {
  return {
      .place = str("blocks.", block, ".in"),
      .kind = "dynamicvit_keep_top",
      .attributes = {
          {"k", static_cast<double>(k)}, {"stage", 0}, {"dim", 96}, {"random", is_random ? 1 : 0}}};
}

TEST_CASE("plan: a transformer that keeps its best tokens gives the eager logits") {
  check_agreement(
      *network_of("deit_micro_patch4_28", pictures(28, 1),
                  {keep_top(1, 34, /*is_random=*/false), keep_top(3, 20, /*is_random=*/false)}),
      {1, 3, 64, 1});
}

TEST_CASE("plan: a random choice of tokens is refused, naming the layer") {
  const auto network =
      network_of("deit_micro_patch4_28", pictures(28, 1), {keep_top(1, 34, /*is_random=*/true)});
  CHECK_THROWS_WITH_AS(Plan{*network},
                       "deploy: layer blocks.1.in: expected values that follow from the images, "
                       "got one (1, 49) read by select_top that is drawn anew for every image: a "
                       "random choice cannot be deployed",
                       Error);
}

/// Records an op that no plan knows.
class Unheard final : public Module {
 public:
  Variable forward(const Variable& x, const Pass&) override {
    return Variable::from({"unheard_of"}, x.value(), {x}, nullptr);
  }
};

TEST_CASE("plan: an unknown op is refused, naming layer and op") {
  const auto network = network_of("deit_micro_patch4_28", pictures(28, 1));
  network->set_part("blocks.2.mlp.fc1.in", std::make_shared<Unheard>());
  CHECK_THROWS_WITH_AS(Plan{*network},
                       "deploy: layer blocks.2.mlp.fc1.in: expected an op that a plan can compute, "
                       "got unheard_of",
                       Error);
}

TEST_CASE("plan: bf16 is as near to f32 as mixed precision is") {
  if (!onednn::computes_bf16()) return;  // the next case is this chip's
  for (const std::string model : {"resnet20", "mobilenet_v2_cifar", "vgg_bn_28",
                                  "deit_mini_patch4_28", "deit_micro_patch4_28"}) {
    CAPTURE(model);
    const bool is_gray = model.ends_with("28");
    const bool drops = model == "deit_micro_patch4_28";
    const auto network =
        network_of(model, is_gray ? pictures(28, 1) : pictures(32),
                   drops ? std::vector<PartRecord>{keep_top(2, 30, /*is_random=*/false)}
                         : std::vector<PartRecord>{});
    const Tensor images = images_of(*network, 5);
    Plan plan(*network, {.dtype = DType::bf16});
    const Tensor logits = plan.run(images);
    CHECK(logits.dtype() == DType::f32);
    CHECK(plan.describe().find("bf16") != std::string::npos);
    // Eight bits of mantissa, through some tens of layers whose errors add up as noise. A token
    // whose score is near the bound may go the other way: one image of five is then far off.
    const double difference = max_relative_difference(logits, network->logits(images));
    CHECK(difference < (drops ? 0.5 : 0.05));
    CHECK(difference > 1e-5);  // else it computed in f32
  }
}

TEST_CASE("plan: bf16 is refused where the chip has no products of it") {
  if (onednn::computes_bf16()) return;
  const auto network = network_of("resnet8_28", pictures(28, 1));
  CHECK_THROWS_AS((Plan{*network, {.dtype = DType::bf16}}), Error);
}

TEST_CASE("plan: batch norm, sums and activations happen inside the products") {
  const auto network = network_of("resnet8_28", pictures(28, 1));
  const std::string text = Plan(*network).describe(2);
  CAPTURE(text);
  const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
  CHECK(has("conv1 + bn1 + act1: convolution"));
  CHECK(has("layer1.0.conv1 + layer1.0.bn1 + layer1.0.act1: "));
  CHECK(has("layer1.0.conv2 + layer1.0.bn2 + layer1.0.add + layer1.0.act2: "));
  CHECK(has("f32 (2, 1, 28, 28) -> f32 (2, 8, 28, 28)"));
  CHECK(!has("pointwise"));
  CHECK(!has(" ref"));
  CHECK(!has("gemm:ref"));

  const auto vit = network_of("vit_nano_patch4_28", pictures(28, 1));
  const std::string blocks = Plan(*vit).describe();
  CAPTURE(blocks);
  CHECK(blocks.find("blocks.0.mlp.fc1 + blocks.0.mlp.act: matmul") != std::string::npos);
  CHECK(blocks.find("blocks.0.attn.proj + blocks.0: matmul") != std::string::npos);
  CHECK(blocks.find("blocks.3.mlp.fc2 + blocks.3: matmul") != std::string::npos);
}

TEST_CASE("plan: memory serves several layers") {
  const auto network = network_of("resnet20", pictures(32));
  Plan plan(*network);
  const Plan::Memory one = plan.memory(1), four = plan.memory(4);
  // Of 19 convolutions' outputs at most the input, the shortcut and the output live together.
  CHECK(one.planned * 4 < one.unplanned);
  CHECK(four.unplanned == 4 * one.unplanned);
  CHECK(four.planned > one.planned);
  CHECK(four.planned <= 4 * one.planned);
}

TEST_CASE("plan: batches cut into runs give the same logits") {
  const auto network = network_of("resnet8_28", pictures(28, 1));
  const Tensor images = images_of(*network, 7);
  Plan whole(*network, {.images_at_once = 7}), cut(*network, {.images_at_once = 3});
  CHECK(max_relative_difference(cut.run(images), whole.run(images)) <= 1e-6);
}

TEST_CASE("plan: it keeps the values that the network had") {
  const auto network = network_of("vit_nano_patch4_28", pictures(28, 1));
  const Tensor images = images_of(*network, 2);
  Plan plan(*network);
  const Tensor before = network->logits(images);
  for (Parameter p : network->parameters()) p.set(zeros_like(p.value()));
  CHECK(max_relative_difference(plan.run(images), before) <= kPromised);
}

TEST_CASE("plan: the layer where a plan and a network part is named") {
  const auto network = network_of("resnet8_28", pictures(28, 1));
  Plan plan(*network);
  Parameter p = network->parameter("layer2.0.conv2.weight");
  p.set(ones_like(p.value()));
  const PlanDifference difference = compare(plan, *network, images_of(*network, 2), 1e-4);
  CHECK(difference.first_layer.find("layer2.0.conv2") != std::string::npos);
  CHECK(difference.logits > 1e-4);
}

TEST_CASE("plan: images of another shape are refused") {
  const auto network = network_of("resnet8_28", pictures(28, 1));
  Plan plan(*network);
  CHECK_THROWS_WITH_AS(plan.run(zeros({2, 3, 28, 28})),
                       "[plan of resnet8_28] images: expected f32 (N, 1, 28, 28) on cpu with N >= "
                       "1, got f32 (2, 3, 28, 28) on cpu",
                       ShapeError);
  CHECK_THROWS_AS(plan.run(zeros({0, 1, 28, 28})), ShapeError);
  CHECK_THROWS_AS(plan.run(zeros({28, 28})), ShapeError);
}

}  // namespace
}  // namespace vtrain
