#include "compress/parts/batch_norm_statistics.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/fake_device.h"
#include "tests/pruning.h"
#include "train/method_run.h"

namespace vtrain {
namespace {

using doctest::Approx;

/// Two batches of training images, 64 and 36.
constexpr int64_t kImages = 100;
const std::vector<std::string> kHundred = {"data.limit=100"};

/// What comes out of a module for the training images, by channel: mean and variance.
std::vector<std::pair<double, double>> moments_of(TestPhase& phase, Run& run,
                                                  const std::string& place) {
  Tap tap = run.tap(place);
  std::vector<std::vector<double>> values;
  for (const Batch& batch : run.samples(kImages)) {
    phase->network().logits(batch.images);
    const Tensor& x = tap.value().value();
    values.resize(static_cast<size_t>(x.dim(1)));
    const std::vector<double> all = x.to_vector();
    const size_t area = all.size() / values.size() / static_cast<size_t>(x.dim(0));
    for (size_t i = 0; i < all.size(); ++i) values[i / area % values.size()].push_back(all[i]);
  }
  std::vector<std::pair<double, double>> moments;
  for (const std::vector<double>& channel : values) {
    double mean = 0, variance = 0;
    for (const double v : channel) mean += v / static_cast<double>(channel.size());
    for (const double v : channel)
      variance += (v - mean) * (v - mean) / static_cast<double>(channel.size() - 1);
    moments.emplace_back(mean, variance);
  }
  return moments;
}

TEST_CASE("batch norm statistics: each norm gets mean and variance of what it reads") {
  TestPhase phase = pruning_phase("{}", kHundred);
  MethodRun run(phase->state(), "test");
  CHECK(remeasure_batch_norms(run, kImages) == 4);
  for (const char* const norm : {"features.1", "features.5", "features.9", "features.12"}) {
    CAPTURE(norm);
    const auto expected = moments_of(phase, run, str(norm, ".in"));
    const std::vector<double> mean = values_of(phase, str(norm, ".running_mean")),
                              variance = values_of(phase, str(norm, ".running_var"));
    REQUIRE(expected.size() == mean.size());
    for (size_t c = 0; c < mean.size(); ++c) {
      CHECK(mean[c] == Approx(expected[c].first).epsilon(1e-5).scale(1e-3));
      CHECK(variance[c] == Approx(expected[c].second).epsilon(1e-5));
    }
    // Weight 1 and bias 0 as they start: what comes out is normal, up to eps.
    for (const auto& [out_mean, out_variance] : moments_of(phase, run, str(norm, ".out"))) {
      CHECK(std::abs(out_mean) < 1e-4);
      CHECK(out_variance < 1.0001);
      CHECK(out_variance > 0.95);
    }
  }
}

TEST_CASE("batch norm statistics: weights and all else stay, and 0 images change nothing") {
  TestPhase phase = pruning_phase("{}", kHundred);
  MethodRun run(phase->state(), "test");
  const auto before = values_of(phase);
  CHECK(remeasure_batch_norms(run, 0) == 4);
  CHECK(values_of(phase) == before);
  remeasure_batch_norms(run, kImages);
  for (const auto& entry : values_of(phase)) {
    const std::string& name = entry.first;
    CAPTURE(name);
    CHECK((entry.second == before.at(name)) == (name.find(".running_") == std::string::npos));
  }
}

TEST_CASE("batch norm statistics: a network without batch norm has none to measure") {
  TestPhase phase("{}");
  MethodRun run(phase->state(), "test");
  const auto before = values_of(phase);
  CHECK(remeasure_batch_norms(run, kImages) == 0);
  CHECK(values_of(phase) == before);
}

TEST_CASE("batch norm statistics: another device gives the bits of the CPU") {
  std::map<std::string, std::vector<double>> here;
  for (const Device device : {Device{}, fake_device()}) {
    std::vector<std::string> overrides = kHundred;
    overrides.push_back("+device=" + device.text());
    TestPhase phase = pruning_phase("{}", overrides);
    MethodRun run(phase->state(), "test");
    remeasure_batch_norms(run, kImages);
    if (device == Device{}) here = values_of(phase);
    CHECK(values_of(phase) == here);
  }
}

}  // namespace
}  // namespace vtrain
