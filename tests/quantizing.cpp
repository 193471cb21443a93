#include "tests/quantizing.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "compress/deploy/compare.h"
#include "compress/deploy/compare_int8.h"
#include "compress/deploy/twin.h"

namespace vtrain {

std::vector<double> effective_weight(TestPhase& phase, const std::string& path) {
  Network& network = phase->network();
  Pass pass;
  pass.hooks = &network.hooks();
  return network.parameter(path).effective_full(pass).value().to_vector();
}

size_t most_values_in_a_row(const std::vector<double>& weight, size_t rows) {
  const auto length = static_cast<std::ptrdiff_t>(weight.size() / rows);
  size_t most = 0;
  for (auto row = weight.begin(); row != weight.end(); row += length)
    most = std::max(most, std::set<double>(row, row + length).size());
  return most;
}

void train_to_end(TestPhase& phase) {
  phase->start();
  while (phase->epoch < phase->config().epochs) finish_epoch(phase);
  phase->finish();
}

const Quantization& integers_of(TestPhase& phase) {
  REQUIRE(phase->state().integers.size() == 1);
  return phase->state().integers.begin()->second.first;
}

void check_deployed(TestPhase& phase, const Tensor& images, const Tensor& trained,
                    double tolerance) {
  Network& network = phase->network();
  const Quantization& quantization = integers_of(phase);
  Plan plan(network, quantization);
  const auto twin = fake_quantized(network, Graph(network), quantization);
  const Int8Difference difference = compare_int8(plan, *twin, images);
  CHECK_MESSAGE(difference.first.empty(), "first off: ", difference.first);
  CHECK(difference.steps.size() > quantization.layers.size());
  CHECK(max_relative_difference(twin->logits(images), trained) < tolerance);
  CHECK(max_relative_difference(plan.run(images), trained) < tolerance);
}

}  // namespace vtrain
