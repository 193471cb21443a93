#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "compress/deploy/compare.h"
#include "compress/deploy/compare_int8.h"
#include "compress/deploy/plan.h"
#include "compress/deploy/twin.h"
#include "data/loader.h"
#include "nn/import.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

/// A network as training leaves it: scales, shifts and statistics far from 1 and 0.
std::unique_ptr<Network> trained_like(const std::string& model, const ModelOptions& options) {
  auto network =
      std::make_unique<Network>(Architecture{.model = model, .options = options, .parts = {}});
  network->initialise(3);
  for (Parameter p : network->parameters()) {
    if (p.value().ndim() != 1) continue;
    std::vector<double> v = Random(9, "", p.path()).uniform(p.value().shape(), {}).to_vector();
    const bool is_variance = p.path().ends_with("running_var"),
               is_scale = p.path().ends_with(".weight");
    for (double& x : v) x = is_variance ? 0.5 + x : is_scale ? 0.6 + 0.8 * x : 0.4 * x - 0.2;
    p.set(from_values(p.value().shape(), v));
  }
  return network;
}
std::unique_ptr<Network> trained_like(const std::string& model) {
  return trained_like(model, find_model(model).usual);
}

Tensor images_for(const Network& network, int64_t count, int64_t step = 0) {
  const ModelOptions& o = network.architecture().options;
  return Random(6, "", "images")
      .normal({count, o.channels, o.image_size, o.image_size}, {.step = step})
      .channels_last();
}

/// A network with the numbers that put it on integers.
struct Int8Case {
  std::unique_ptr<Network> network, twin;
  Quantization quantization;

  explicit Int8Case(std::unique_ptr<Network> n, const CalibrationOptions& options = {})
      : network(std::move(n)) {
    const Graph graph(*network);
    const std::vector<Tensor> batches{images_for(*network, 16, 1), images_for(*network, 16, 2)};
    quantization = calibrate(*network, graph, batches, options);
    twin = fake_quantized(*network, graph, quantization);
  }
};

int64_t codes_differing(const Int8Difference& difference) {
  int64_t differing = 0;
  for (const Int8Difference::Step& step : difference.steps) differing += step.differing;
  return differing;
}

void check_case(Int8Case& c, int64_t fewest_steps) {
  Plan plan(*c.network, c.quantization);
  const Tensor images = images_for(*c.network, 8);
  const Int8Difference difference = compare_int8(plan, *c.twin, images);
  CAPTURE(plan.describe(1));
  CHECK_MESSAGE(difference.first.empty(), "first off: ", difference.first);
  CHECK(difference.worst_codes <= 1);
  CHECK(difference.worst_reals <= 1e-6);
  CHECK(codes_differing(difference) <= 2);  // of millions: f32 means that round otherwise
  CHECK(static_cast<int64_t>(difference.steps.size()) >= fewest_steps);
  // From end to end a code that a mean or a norm in f32 turns may grow into what eight bits are
  // worth.
  const Tensor logits = plan.run(images);
  CHECK(max_relative_difference(logits, c.twin->logits(images)) < 0.03);
  ClassAgreement classes;
  classes.add(logits, c.twin->logits(images));
  CHECK(classes.same == 8);
}

TEST_CASE("int8 plan: every step of a residual network is its simulated twin to one code") {
  Int8Case small(trained_like("resnet8_28"));
  check_case(small, 10);
  Int8Case bottlenecks(trained_like("resnet50", {.num_classes = 10, .image_size = 64}));
  check_case(bottlenecks, 55);
}

TEST_CASE("int8 plan: every step of other convolutional networks is the twin to one code") {
  Int8Case mobile(trained_like("mobilenet_v2_28"));
  check_case(mobile, 20);
  Int8Case plain(trained_like("vgg_bn_28"));
  check_case(plain, 8);
}

TEST_CASE("int8 plan: every step of a transformer is the twin to one code, reals to f32 rounding") {
  Int8Case c(trained_like("deit_micro_patch4_28"));
  check_case(c, 6 * 7);
}

TEST_CASE("int8 plan: layers that are skipped stay real, between borders of codes") {
  Int8Case c(trained_like("resnet8_28"), {.skip = {"layer2.0.*"}});
  check_case(c, 8);
  Plan plan(*c.network, c.quantization);
  const std::string steps = plan.describe(1);
  CHECK(steps.find("quantize, f32") != std::string::npos);
  CHECK(steps.find("dequantize, ") != std::string::npos);
  // All skipped, it is the plan in reals.
  const Int8Case none(trained_like("resnet8_28"), {.skip = {"*"}});
  Plan reals(*none.network), same(*none.network, none.quantization);
  const Tensor images = images_for(*none.network, 3);
  CHECK(same.run(images).to_vector() == reals.run(images).to_vector());
}

TEST_CASE("int8 plan: a batch of any size gives each image its logits") {
  const Int8Case c(trained_like("resnet8_28"));
  Plan plan(*c.network, c.quantization);
  const Tensor images = images_for(*c.network, 17);
  const Tensor all = plan.run(images);
  for (const int64_t i : {0, 7, 16}) {
    CAPTURE(i);
    CHECK(plan.run(images.slice(0, i, i + 1)).to_vector() == all.slice(0, i, i + 1).to_vector());
  }
}

TEST_CASE("int8 plan: codes take a byte of planned memory") {
  const Int8Case c(trained_like("resnet8_28"));
  Plan plan(*c.network, c.quantization), reals(*c.network);
  CHECK(plan.memory(1).planned * 3 < reals.memory(1).planned);  // the images and logits are f32
  int64_t codes = 0;
  for (const Plan::LayerOutput& output : plan.run_layers(images_for(*c.network, 1))) {
    if (!output.codes) continue;
    CHECK(output.value.bytes() == output.value.numel());
    ++codes;
  }
  CHECK(codes >= 8);  // of the images, and of each convolution
}

TEST_CASE("int8 plan: NaN has no code, other dtypes and other networks have no plan") {
  const Int8Case c(trained_like("resnet8_28"));
  Plan plan(*c.network, c.quantization);
  Tensor images = images_for(*c.network, 1);
  images.fill(std::nan(""));
  CHECK_THROWS_WITH_AS(plan.run(images),
                       "plan: quantize: expected numbers, got NaN, which has no code", Error);
  CHECK_THROWS_WITH_AS(Plan(*c.network, c.quantization, {.dtype = DType::bf16}),
                       "plan of resnet8_28: dtype: expected f32 beside codes, got bf16", Error);
  const auto other = trained_like("vgg_bn_28");
  CHECK_THROWS_AS(Plan(*other, c.quantization), Error);
}

/// Weights of others on CIFAR-10, where ../shared has them.
struct RealData {
  std::string folder = std::string(VTRAIN_SOURCE_DIR) + "/../shared/data/";
  bool is_there(const std::string& weights) const {
    return std::filesystem::exists(folder + "weights/" + weights) &&
           std::filesystem::exists(folder + "cifar10/test.tar");
  }
  std::vector<Tensor> images(const Network& network, Split split, int64_t count) const {
    const auto data = open_dataset("tar_folder", {.root = folder + "cifar10", .split = split});
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < count; ++i) chosen.push_back(i * data->size() / count);
    Loader loader(data, chosen,
                  {.batch_size = 125,
                   .mean = network.preprocessing.mean,
                   .std = network.preprocessing.std,
                   .input = InputFormat{.size = {3, 32, 32}}});
    loader.start(0);
    std::vector<Tensor> batches;
    while (const std::optional<Batch> batch = loader.next()) batches.push_back(batch->images);
    return batches;
  }
};

TEST_CASE("int8 plan: one other class in 500 images is the most that may differ") {
  std::vector<double> first(1000), other(1000);
  for (size_t i = 0; i < first.size(); i += 2) first[i] = 1;
  other = first;
  const auto agreement = [&](const std::vector<double>& own) {
    ClassAgreement classes;
    classes.add(from_values({500, 2}, own), from_values({500, 2}, first));
    return classes;
  };
  CHECK(agreement(other).same == 500);
  std::swap(other[0], other[1]);
  CHECK(agreement(other).same == 499);
  CHECK(agreement(other).holds());
  std::swap(other[2], other[3]);
  CHECK_FALSE(agreement(other).holds());
}

TEST_CASE("int8 plan: imported residual networks choose their twins' classes on real images") {
  const RealData real;
  for (const auto& [model, file] : std::map<std::string, std::string>{
           {"resnet20", "resnet20-12fca82f.th"}, {"resnet56", "resnet56-4bfd9763.th"}}) {
    CAPTURE(model);
    if (!real.is_there(file)) {
      MESSAGE("skipped: no ../shared/data/weights/", file);
      continue;
    }
    const auto network = import_weights(real.folder + "weights/" + file, {.model = model});
    const Graph graph(*network);
    const std::vector<Tensor> calibration = real.images(*network, Split::kTrain, 250);
    const Quantization quantization = calibrate(*network, graph, calibration);
    const auto twin = fake_quantized(*network, graph, quantization);
    Plan plan(*network, quantization);
    ClassAgreement classes;
    for (const Tensor& images : real.images(*network, Split::kTest, 1000)) {
      if (classes.images == 0) CHECK(compare_int8(plan, *twin, images).first.empty());
      classes.add(plan.run(images), twin->logits(images));
    }
    CHECK(classes.images == 1000);
    CHECK(classes.holds());
  }
}

}  // namespace
}  // namespace vtrain
