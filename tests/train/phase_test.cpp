#include "train/phase.h"

#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

#include "tests/train/test_phase.h"

namespace vtrain {
namespace {

/// Two classes of eight 28x28 pictures in each split; three of the training split are cut.
void put_images(const TemporaryFolder& root) {
  const std::string image = "P5\n28 28\n255\n" + std::string(784, 'x');
  for (const std::string split : {"train", "test"}) {
    for (const std::string kind : {"cat", "dog"}) {
      const std::string folder = root / (split + '/' + kind);
      std::filesystem::create_directories(folder);
      for (int i = 0; i < 8; ++i) {
        const bool is_cut = split == "train" && i % 3 == 2 && !(kind == "dog" && i == 5);
        put_file(str(folder, '/', i, ".pgm"), is_cut ? image.substr(0, 300) : image);
      }
    }
  }
}

TEST_CASE("phase: damaged images are skipped up to data.max_bad, and a checkpoint knows them") {
  const TemporaryFolder root;
  put_images(root);
  const std::string data =
      "data={name: image_folder, batch_size: 8, workers: 0, root: " + root.path();
  TestPhase phase("{}", {data + ", max_bad: 3}"});
  phase.steps(2);
  const std::vector<std::string> bad = phase->bad_images();
  REQUIRE(bad.size() == 3);
  for (const std::string& message : bad) {
    CHECK(message.find("is truncated: expected at least 797 bytes, got 300") != std::string::npos);
  }
  NamedTensors file;
  phase->save(file);

  TestPhase resumed("{}", {data + ", max_bad: 3}"});
  CHECK(resumed->bad_images().empty());
  resumed->load(file, "test");
  CHECK(resumed->bad_images() == bad);

  file.metadata.erase("dtype");  // as an earlier version wrote it
  TestPhase from_earlier("{}", {data + ", max_bad: 3}"});
  from_earlier->load(file, "test");
  CHECK(from_earlier->dtype == DType::f32);

  TestPhase strict("{}", {data + ", max_bad: 2}"});
  CHECK_THROWS_WITH_AS(strict.steps(2),
                       doctest::Contains("the damaged image number 3; data.max_bad allows 2"),
                       DataError);
}

TEST_CASE("phase: what the network is shown and how it was resized goes into its weights file") {
  const TemporaryFolder root;
  put_images(root);
  const std::string data = "data={name: image_folder, batch_size: 8, root: " + root.path();
  TestPhase as_they_are("{}", {data + ", max_bad: 3}"});
  CHECK(as_they_are->network().preprocessing.crop_pct == 0);
  TestPhase resized(
      "{}", {data + ", max_bad: 3, image_size: 28, crop_pct: 0.9, interpolation: bicubic}"});
  resized->network().save(root / "x.safetensors");
  const Preprocessing kept = Network::load(root / "x.safetensors")->preprocessing;
  CHECK(kept.crop_pct == 0.9);
  CHECK(kept.interpolation == "bicubic");
  CHECK(kept.class_names == std::vector<std::string>{"cat", "dog"});
}

TEST_CASE("phase: what a method moves by hand has gradients and stays where it is") {
  TestPhase phase("{kd: {teacher: dense}}");
  std::vector<Parameter> by_hand;
  for (const Parameter& p : phase->network().parameters()) {
    if (p.path() != "head.bias") by_hand.push_back(p);
  }
  const Parameter weight = phase->network().parameter("head.weight"),
                  bias = phase->network().parameter("head.bias");
  phase->state().claimed.push_back(std::make_shared<ParameterGroup>(
      ParameterGroup{.name = "duals", .parameters = by_hand, .is_by_hand = true}));
  const std::vector<double> weight_before = weight.value().to_vector(),
                            bias_before = bias.value().to_vector();
  const double norm = phase->train_step(phase->loader_at_position());
  CHECK(weight.value().to_vector() == weight_before);
  CHECK(bias.value().to_vector() != bias_before);
  CHECK(weight.grad().defined());
  double squares = 0;
  for (const double g : bias.grad().to_vector()) squares += g * g;
  CHECK(norm == doctest::Approx(std::sqrt(squares)));
}

}  // namespace
}  // namespace vtrain
