#include "nn/network.h"

#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <string>

#include "autograd/arithmetic.h"
#include "tensor/random.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

/// x * weight + offset: a permanent part as a method would leave one.
class TestPart final : public Module {
 public:
  explicit TestPart(double offset)
      : offset_(offset), weight_(add("weight", Parameter({96}, Init::ones()))) {
    weight_.set(full({96}, 0.5));
  }
  explicit TestPart(const Attributes& a) : TestPart(a.at("offset")) {}
  Variable forward(const Variable& x, const Pass& pass) override {
    return x * weight_.effective(pass) + offset_;
  }
  std::string kind() const override { return "test_part"; }
  std::map<std::string, double> attributes() const override { return {{"offset", offset_}}; }

 private:
  double offset_;
  Parameter weight_;
};
const RegisteredModule<TestPart> registered("test_part");

Network micro() {
  return Network({.model = "deit_micro_patch4_28", .options = {.drop_path = 0.1}, .parts = {}});
}
Tensor images(int64_t n = 2) { return Random(3, "", "images").normal({n, 1, 28, 28}, {}); }

TEST_CASE("network: a saved network loads with its values, record, parts and preprocessing") {
  const TemporaryFolder folder;
  Network network = micro();
  network.initialise(1);
  network.set_part("blocks.2.in", std::make_shared<TestPart>(1.0 / 3));
  network.set_part("norm.out", std::make_shared<TestPart>(-0.1));
  network.preprocessing = {.mean = {0.2860}, .std = {0.3530}, .class_names = {"shirt", "\"bag\""}};
  network.save(folder / "w.safetensors");

  const std::unique_ptr<Network> loaded = Network::load(folder / "w.safetensors");
  CHECK(loaded->logits(images()).to_vector() == network.logits(images()).to_vector());
  CHECK(loaded->architecture().to_json() == network.architecture().to_json());
  CHECK(loaded->architecture().options.drop_path == 0.1);
  REQUIRE(loaded->architecture().parts.size() == 2);
  CHECK(loaded->architecture().parts[0].place == "blocks.2.in");
  CHECK(loaded->architecture().parts[0].attributes.at("offset") == 1.0 / 3);
  CHECK(loaded->parameter("blocks.2.in.weight").value().to_vector() ==
        std::vector<double>(96, 0.5));
  CHECK(loaded->preprocessing.mean == std::vector<double>{0.2860});
  CHECK(loaded->preprocessing.std == std::vector<double>{0.3530});
  CHECK(loaded->preprocessing.class_names == std::vector<std::string>{"shirt", "\"bag\""});
  CHECK(loaded->parameter_count() == micro().parameter_count() + 2 * 96);
}

TEST_CASE("network: two files of one network are equal, byte for byte") {
  const TemporaryFolder folder;
  Network network = micro();
  network.initialise(1);
  network.save(folder / "a");
  Network::load(folder / "a")->save(folder / "b");
  CHECK(file_content(folder / "a") == file_content(folder / "b"));
}

TEST_CASE("network: a file whose tensors do not fit is refused, naming file and tensor") {
  const TemporaryFolder folder;
  Network network = micro();
  network.save(folder / "good");
  const std::string path = folder / "bad";
  const auto load_edited = [&](const auto& edit) {
    NamedTensors file = read_safetensors(folder / "good");
    edit(file);
    write_safetensors(path, file);
    Network::load(path);
  };
  CHECK_THROWS_WITH_AS(
      load_edited([](NamedTensors& f) { f.tensors.erase("head.bias"); }),
      str(path, ": has no tensor head.bias, which deit_micro_patch4_28 needs").c_str(),
      CheckpointError);
  CHECK_THROWS_WITH_AS(
      load_edited([](NamedTensors& f) {
        f.tensors["extra"] = ones({2, 1});
      }),
      str(path, ": has a tensor extra (2, 1), which deit_micro_patch4_28 does not know").c_str(),
      CheckpointError);
  CHECK_THROWS_WITH_AS(load_edited([](NamedTensors& f) { f.tensors["head.bias"] = ones({11}); }),
                       str(path, ": tensor head.bias: expected shape (10), got (11)").c_str(),
                       CheckpointError);
  CHECK_THROWS_WITH_AS(
      load_edited([](NamedTensors& f) { f.metadata.erase("architecture"); }),
      str(path, ": has no architecture record; was it written by another program?").c_str(),
      CheckpointError);
  CHECK_THROWS_AS(
      load_edited([](NamedTensors& f) { f.metadata["architecture"] = "{\"model\": 1"; }),
      CheckpointError);
  CHECK_THROWS_AS(load_edited([](NamedTensors& f) { f.metadata["architecture"] = "{}"; }),
                  CheckpointError);
}

TEST_CASE("network: a part of an unknown kind is named") {
  Architecture a = micro().architecture();
  a.parts.push_back({"blocks.0.in", "nobody_has_this", {}});
  CHECK_THROWS_WITH_AS(Network{a},
                       "the network has a part of kind nobody_has_this, which this build does not "
                       "know; --plugin FILE loads what a plug-in registers",
                       CheckpointError);
}

TEST_CASE("network: the architecture record reads back to the same text") {
  const Architecture a{
      .model = "vit_tiny_patch16_224",
      .options = {.num_classes = 7, .channels = 3, .image_size = 64, .drop_path = 0.3},
      .parts = {{"blocks.1.in", "test_part", {{"offset", 1e-7}}}}};
  CHECK(Architecture::from_json(a.to_json()).to_json() == a.to_json());
}

TEST_CASE("network: an unknown model is refused with the nearest name") {
  CHECK_THROWS_WITH_AS(Network({.model = "deit_mico_patch4_28", .options = {}, .parts = {}}),
                       "unknown model deit_mico_patch4_28; did you mean deit_micro_patch4_28?",
                       RecipeError);
}

TEST_CASE("network: values that are not finite are not written") {
  const TemporaryFolder folder;
  Network network = micro();
  network.parameter("head.bias").set(full({10}, std::numeric_limits<double>::quiet_NaN()));
  const std::string path = folder / "w";
  CHECK_THROWS_WITH_AS(
      network.save(path),
      str(path, ": not written: head.bias holds a value that is not finite").c_str(), Error);
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("network: a clone has the values and parts, not the hooks, and its own memory") {
  Network network = micro();
  network.initialise(1);
  network.set_part("norm.out", std::make_shared<TestPart>(0.25));
  const Tensor before = network.logits(images());
  network.hooks().transform_value(
      "norm.out", {Slot::kMask, "test", [](const Variable& x, const Pass&) { return x * 2; }});
  const std::unique_ptr<Network> clone = network.clone();
  CHECK(clone->hooks().empty());
  CHECK(clone->logits(images()).to_vector() == before.to_vector());
  clone->parameter("head.bias").set(ones({10}));
  CHECK(network.parameter("head.bias").value().to_vector() == std::vector<double>(10, 0));
}

TEST_CASE("network: a part at a place takes the place of the last one there") {
  Network network = micro();
  network.set_part("blocks.0.in", std::make_shared<TestPart>(1));
  network.set_part("blocks.0.in", std::make_shared<TestPart>(2));
  REQUIRE(network.architecture().parts.size() == 1);
  CHECK(network.architecture().parts[0].attributes.at("offset") == 2);
  CHECK(network.parameter_count() == micro().parameter_count() + 96);
}

TEST_CASE("network: modules and parameters are found by path") {
  Network network = micro();
  CHECK(network.module("blocks.5.mlp.act").path() == "blocks.5.mlp.act");
  CHECK(network.has_module("norm"));
  CHECK_FALSE(network.has_module("blocks.6"));
  CHECK_THROWS_WITH_AS(network.module("blocks.6"),
                       "network deit_micro_patch4_28: there is no module blocks.6", Error);
  CHECK_THROWS_WITH_AS(network.parameter("head"),
                       "network deit_micro_patch4_28: there is no parameter head", Error);
}

TEST_CASE("network: forward runs with hooks, initial weights do not depend on parts") {
  Network plain = micro(), with_part = micro();
  with_part.set_part("norm.out", std::make_shared<TestPart>(0));
  plain.initialise(9);
  with_part.initialise(9);
  CHECK(plain.parameter("head.weight").value().to_vector() ==
        with_part.parameter("head.weight").value().to_vector());
  int calls = 0;
  plain.hooks().transform_value("blocks.0.in",
                                {Slot::kMask, "test", [&](const Variable& x, const Pass&) {
                                   ++calls;
                                   return x;
                                 }});
  plain.logits(images());
  CHECK(calls == 1);
}

}  // namespace
}  // namespace vtrain
