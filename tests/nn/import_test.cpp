#include "nn/import.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "nn/models/vit.h"
#include "tensor/torch_file.h"
#include "tests/golden.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

std::string stored(const std::string& name) {
  return str(VTRAIN_SOURCE_DIR, "/tests/golden/", name);
}

/// Names and shapes of torchvision's networks, tests/golden/make_torchvision.py.
std::map<std::string, std::map<std::string, Shape>> torchvision_shapes() {
  std::ifstream file(stored("torchvision_names.txt"));
  std::map<std::string, std::map<std::string, Shape>> all;
  std::string network;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("[")) {
      network = line.substr(1, line.size() - 2);
      continue;
    }
    std::istringstream words(line);
    std::string name;
    words >> name;
    Shape& shape = all[network][name];
    for (int64_t extent = 0; words >> extent;) shape.push_back(extent);
  }
  return all;
}

std::map<std::string, Shape> shapes_of(const Network& network) {
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : network.state()) shapes[name] = tensor.shape();
  return shapes;
}

/// The transformer of tests/golden/make_torchvision.py.
const RegisteredModel tiny_vit("vit_of_import_test", "two blocks of width 8", "arXiv:2010.11929",
                               [](const ModelOptions& o) -> std::unique_ptr<Model> {
                                 return std::make_unique<Vit>(
                                     VitConfig{.image_size = o.image_size,
                                               .patch_size = 4,
                                               .channels = o.channels,
                                               .num_classes = o.num_classes,
                                               .dim = 8,
                                               .depth = 2,
                                               .num_heads = 2,
                                               .hidden_dim = 16});
                               },
                               {.num_classes = 7, .channels = 3, .image_size = 8});

TEST_CASE("import: torchvision's convolutional networks have our tensors, by name and shape") {
  const auto theirs = torchvision_shapes();
  for (const char* const name : {"resnet18", "resnet50", "mobilenet_v2", "vgg16", "vgg16_bn"}) {
    CAPTURE(name);
    const Network network({.model = name, .options = find_model(name).usual, .parts = {}});
    CHECK(shapes_of(network) == theirs.at(name));
  }
}

TEST_CASE("import: torchvision's transformer has our tensors once its names are timm's") {
  const std::map<std::string, Shape> theirs = torchvision_shapes().at("vit_b_16");
  std::map<std::string, Shape> renamed;
  for (const auto& [name, shape] : theirs) renamed[timm_name_of(name)] = shape;
  const Network network({.model = "vit_base_patch16_224",
                         .options = find_model("vit_base_patch16_224").usual,
                         .parts = {}});
  CHECK(shapes_of(network) == renamed);
  CHECK(timm_name_of("encoder.layers.encoder_layer_11.mlp.linear_2.bias") ==
        "blocks.11.mlp.fc2.bias");
  for (const auto& [name, shape] : renamed) CHECK(timm_name_of(name) == name);
}

TEST_CASE("import: a transformer saved by torchvision gives torchvision's logits") {
  const TorchValue file = read_torch_file(stored("torchvision_vit.pth"));
  const auto network =
      import_weights(stored("torchvision_vit.pth"), {.model = "vit_of_import_test"});
  CHECK(network->architecture().options.num_classes == 3);
  CHECK(relative_error(network->logits(file.find("images")->tensor.channels_last()),
                       file.find("logits")->tensor) < 1e-5);  // f32 on both sides
}

TEST_CASE("import: a file in the form of DeiT's gives the network of the same weights") {
  const auto a = import_weights(stored("torchvision_vit.pth"), {.model = "vit_of_import_test"});
  const auto b = import_weights(stored("deit_vit.pth"), {.model = "vit_of_import_test"});
  const Tensor images = read_torch_file(stored("torchvision_vit.pth")).find("images")->tensor;
  CHECK(a->logits(images.channels_last()).to_vector() ==
        b->logits(images.channels_last()).to_vector());
}

TEST_CASE("import: a torchvision network with other classes gives a network with as many") {
  const TemporaryFolder folder;
  ModelOptions options = find_model("mobilenet_v2").usual;
  options.num_classes = 6;
  Network network({.model = "mobilenet_v2", .options = options, .parts = {}});
  network.initialise(3);
  NamedTensors file;
  for (const auto& [name, tensor] : network.state()) {
    file.tensors[name] = tensor;
    if (name.ends_with("running_mean"))
      file.tensors[name.substr(0, name.size() - 12) + "num_batches_tracked"] =
          zeros({1}, DType::i64);
  }
  write_safetensors(folder / "m.safetensors", file);
  const auto imported = import_weights(folder / "m.safetensors", {.model = "mobilenet_v2"});
  CHECK(imported->architecture().options.num_classes == 6);
  CHECK(imported->parameter("features.18.1.weight").value().to_vector() ==
        network.parameter("features.18.1.weight").value().to_vector());
  CHECK(imported->preprocessing.mean == std::vector<double>{0.485, 0.456, 0.406});
}

TEST_CASE("import: weights of another network are refused, naming what is missing") {
  CHECK_THROWS_WITH_AS(import_weights(stored("torchvision_vit.pth"), {.model = "vgg_bn_28"}),
                       doctest::Contains("has no tensor features.0.weight, which vgg_bn_28 needs"),
                       CheckpointError);
}

}  // namespace
}  // namespace vtrain
