#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "compress/deploy/calibrate.h"
#include "compress/deploy/compare.h"
#include "compress/deploy/compare_int8.h"
#include "compress/deploy/plan.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

/// A network as training leaves it: scales, shifts and statistics far from 1 and 0.
std::unique_ptr<Network> trained_like(const std::string& model, const ModelOptions& options) {
  auto network = std::make_unique<Network>(
      Architecture{.model = model, .options = options, .parts = {}});
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

double share_differing(const Int8Difference& difference) {
  double differing = 0, elements = 0;
  for (const Int8Difference::Step& step : difference.steps) {
    differing += static_cast<double>(step.differing);
    elements += static_cast<double>(step.elements);
  }
  return differing / elements;
}

void check_case(Int8Case& c, int64_t fewest_steps) {
  Plan plan(*c.network, c.quantization);
  const Tensor images = images_for(*c.network, 8);
  const Int8Difference difference = compare_int8(plan, *c.twin, images);
  CAPTURE(plan.describe(1));
  CHECK_MESSAGE(difference.first.empty(), "first off: ", difference.first);
  CHECK(difference.worst_codes <= 1);
  CHECK(difference.worst_reals <= 1e-4);
  CHECK(share_differing(difference) <= 0.001);
  CHECK(static_cast<int64_t>(difference.steps.size()) >= fewest_steps);
  // From end to end single codes may part, and grow into what eight bits are worth.
  const Tensor logits = plan.run(images);
  CHECK(max_relative_difference(logits, c.twin->logits(images)) < 0.03);
  CHECK(same_classes(logits, c.twin->logits(images)) >= 7);
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

}  // namespace
}  // namespace vtrain
