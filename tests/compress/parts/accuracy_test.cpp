#include "compress/parts/accuracy.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

/// Logits that are the same for every image: log of 10..1.
void answer_always(Network& network) {
  Parameter weight = network.parameter("head.weight"), bias = network.parameter("head.bias");
  weight.set(zeros(weight.value().shape()));
  std::vector<double> logits;
  for (int k = 10; k >= 1; --k) logits.push_back(std::log(k));
  bias.set(from_values({10}, logits));
}

TEST_CASE("accuracy: the share of images of the class that a network always names, and its loss") {
  TestPhase phase("{example: {rate: 0}}", {"+data.val=0.25"});
  Network& network = phase->network();
  answer_always(network);
  const std::vector<Batch> batches = phase->state().samples(40);
  double of_first = 0, loss = 0, images = 0;
  for (const Batch& batch : batches) {
    for (const double label : batch.labels.to_vector()) {
      of_first += label == 0 ? 1 : 0;
      loss -= std::log((10 - label) / 55);
      ++images;
    }
  }
  REQUIRE(images == 40);
  REQUIRE(of_first > 0);
  const BatchAccuracy got = accuracy_on(network, batches);
  CHECK(got.top1_percent == doctest::Approx(100 * of_first / 40));
  CHECK(got.loss == doctest::Approx(loss / 40).epsilon(1e-5));  // f32 logits
}

TEST_CASE("held out: other images than those of training, the same at every call") {
  TestPhase phase("{example: {rate: 0}}", {"+data.val=0.25"});
  const auto pixels = [](const std::vector<Batch>& batches) {
    std::set<std::vector<double>> all;
    for (const Batch& batch : batches) {
      for (int64_t n = 0; n < batch.size(); ++n)
        all.insert(batch.images.slice(0, n, n + 1).contiguous().to_vector());
    }
    return all;
  };
  MethodRun run(phase->state(), "example");
  const auto held = pixels(run.held_out(1000));
  CHECK(held.size() == 16);  // a quarter of 64
  CHECK(pixels(run.held_out(1000)) == held);
  CHECK(pixels(run.held_out(5)).size() == 5);
  for (const auto& image : pixels(run.samples(1000))) CHECK(!held.contains(image));
}

TEST_CASE("held out: a recipe that holds nothing out is refused, naming the method") {
  TestPhase phase("{example: {rate: 0}}");
  MethodRun run(phase->state(), "example");
  CHECK_THROWS_WITH_AS(
      run.held_out(5),
      "phase sparse: example chooses by held-out images; expected data.val above 0", RecipeError);
}

}  // namespace
}  // namespace vtrain
