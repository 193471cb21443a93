// LeNet-300-100: its counts, and its order of pixels.
#include <doctest/doctest.h>

#include "nn/graph.h"
#include "nn/network.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

// 266,200 weights and 410 biases, as in arXiv:1506.02626, table 3.
TEST_CASE("lenet_300_100: the counts are the published ones") {
  Network network({.model = "lenet_300_100", .options = {}, .parts = {}});
  CHECK(network.parameter_count() == 266'610);
  CHECK(Graph(network).macs() == 784 * 300 + 300 * 100 + 100 * 10);
}

TEST_CASE("lenet_300_100: pixels are read by channel, row and column") {
  Network network({.model = "lenet_300_100",
                   .options = {.num_classes = 10, .channels = 2, .image_size = 3},
                   .parts = {}});
  for (const Parameter& p : network.parameters()) Parameter(p).set(zeros(p.value().shape()));
  // One path: element (channel 1, row 0, column 2), the 12th pixel, to class 4.
  network.parameter("fc1.weight").value().slice(0, 7, 8).slice(1, 11, 12).fill(1);
  network.parameter("fc2.weight").value().slice(0, 5, 6).slice(1, 7, 8).fill(2);
  network.parameter("fc3.weight").value().slice(0, 4, 5).slice(1, 5, 6).fill(3);
  const Tensor images = Random(1, "", "images").uniform({2, 2, 3, 3}, {}).channels_last();
  const std::vector<double> pixels = images.to_vector(),
                            logits = network.logits(images).to_vector();
  CHECK(logits[4] == doctest::Approx(6 * pixels[11]));
  CHECK(logits[14] == doctest::Approx(6 * pixels[18 + 11]));
  CHECK(logits[3] == 0);
}

TEST_CASE("lenet_300_100: images of another size are refused") {
  Network network({.model = "lenet_300_100", .options = {}, .parts = {}});
  CHECK_THROWS_WITH_AS(network.logits(zeros({1, 1, 14, 14})),
                       doctest::Contains("expected (N, 1, 28, 28)"), ShapeError);
}

}  // namespace
}  // namespace vtrain
