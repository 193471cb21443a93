#include "compress/deploy/int8_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "compress/deploy/plan.h"
#include "tensor/random.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

Tensor noise_for(const Network& network, int64_t count, int64_t step) {
  const ModelOptions& o = network.architecture().options;
  return Random(6, "", "images")
      .normal({count, o.channels, o.image_size, o.image_size}, {.step = step})
      .channels_last();
}

std::unique_ptr<Network> fresh(const std::string& model) {
  auto network = std::make_unique<Network>(
      Architecture{.model = model, .options = find_model(model).usual, .parts = {}});
  network->initialise(4);
  network->preprocessing = {.mean = {0.25}, .std = {0.5}, .class_names = {}};
  return network;
}

/// A network on integers, written to a file.
struct WrittenInt8 {
  std::unique_ptr<Network> network;
  Quantization quantization;

  WrittenInt8(const std::string& model, const std::string& path,
              const std::vector<std::string>& skip = {})
      : network(fresh(model)) {
    const Graph graph(*network);
    const std::vector<Tensor> batches{noise_for(*network, 16, 1)};
    quantization = calibrate(*network, graph, batches, {.skip = skip});
    save_int8(path, *network, graph, quantization, {.images = 16, .skip = skip});
  }
};

bool is_same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.to_vector() == b.to_vector();
}

TEST_CASE("int8 file: what comes back computes the same codes and logits, bit for bit") {
  const TemporaryFolder folder;
  for (const std::string model :
       {"resnet8_28", "mobilenet_v2_28", "vgg_bn_28", "deit_micro_patch4_28"}) {
    CAPTURE(model);
    const std::string path = folder / (model + ".safetensors");
    const WrittenInt8 written(model, path);
    CHECK(is_int8_file(path));
    const Int8Network read = load_int8(path);
    CHECK(read.record.range == "minmax");
    CHECK(read.record.images == 16);
    CHECK(read.network->preprocessing.mean == std::vector<double>{0.25});
    CHECK(read.quantization.values == written.quantization.values);
    CHECK(read.quantization.places == written.quantization.places);
    REQUIRE(read.quantization.layers.size() == written.quantization.layers.size());
    for (size_t i = 0; i < read.quantization.layers.size(); ++i) {
      const QuantizedLayer &a = read.quantization.layers[i], &b = written.quantization.layers[i];
      CAPTURE(a.nodes.path);
      CHECK(is_same(a.quantizer.codes(a.weight), b.quantizer.codes(b.weight)));
      CHECK(is_same(a.quantizer.scale(), b.quantizer.scale()));
      CHECK(a.bias.defined() == b.bias.defined());
      if (a.bias.defined()) CHECK(is_same(a.bias, b.bias));
    }
    Plan before(*written.network, written.quantization), after(*read.network, read.quantization);
    const Tensor images = noise_for(*read.network, 3, 9);
    CHECK(is_same(before.run(images), after.run(images)));
  }
}

TEST_CASE("int8 file: a layer's weight takes a byte, and layers that were skipped stay in f32") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  const WrittenInt8 written("resnet8_28", path, {"conv1"});
  const NamedTensors file = read_safetensors(path);
  CHECK(file.tensors.at("conv1.weight").dtype() == DType::f32);
  CHECK(file.tensors.contains("bn1.weight"));
  CHECK(file.tensors.at("layer1.0.conv1.weight").dtype() == DType::i8);
  CHECK(file.tensors.at("layer1.0.conv1.weight_scale").shape() ==
        Shape{file.tensors.at("layer1.0.conv1.weight").dim(0)});
  CHECK_FALSE(file.tensors.contains("layer1.0.bn1.weight"));
  CHECK(load_int8(path).quantization.layers.size() == written.quantization.layers.size());
}

// What follows changes a good file and has to be named.
struct ChangedFile {
  TemporaryFolder folder;
  std::string path = folder / "net.safetensors";
  WrittenInt8 written{"resnet8_28", path};
  NamedTensors content = read_safetensors(path);

  std::string refusal() {
    write_safetensors(path, content);
    try {
      load_int8(path);
    } catch (const CheckpointError& error) {
      return std::string(error.what()).substr(path.size());
    }
    return "";
  }
};

TEST_CASE("int8 file: a flipped byte is found by the checksums") {
  ChangedFile file;
  std::string bytes = file_content(file.path);
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 1);
  write_file_atomically(file.path, bytes);
  CHECK_THROWS_AS(load_int8(file.path), CheckpointError);
}

TEST_CASE("int8 file: parts that are missing, unknown or impossible are named") {
  ChangedFile good;
  CHECK(good.refusal().empty());
  SUBCASE("a scale is missing") {
    good.content.tensors.erase("layer1.0.conv1.weight_scale");
    CHECK(good.refusal() == ": layer1.0.conv1.weight_scale: is missing");
  }
  SUBCASE("a scale is 0") {
    good.content.tensors.at("layer1.0.conv1.weight_scale").fill(0);
    CHECK(good.refusal() == ": layer1.0.conv1.weight_scale: expected scales above 0, got 0");
  }
  SUBCASE("a folded bias is missing") {
    good.content.tensors.erase("layer1.0.conv1.folded_bias");
    CHECK(good.refusal() == ": layer1.0.conv1.folded_bias: is missing");
  }
  SUBCASE("codes are reals") {
    Tensor& weight = good.content.tensors.at("layer1.0.conv1.weight");
    weight = weight.to(DType::f32);
    CHECK(good.refusal() == ": layer1.0.conv1.weight: expected i8, got f32");
  }
  SUBCASE("a code that no rounding gives") {
    good.content.tensors.at("layer1.0.conv1.weight").fill(-128);
    CHECK(good.refusal() == ": layer1.0.conv1.weight: expected codes from -127 to 127, got -128");
  }
  SUBCASE("a value has no scale") {
    std::string& record = good.content.metadata.at("int8");
    const size_t at = record.find("\"images\":[");
    REQUIRE(at != std::string::npos);
    record.replace(at, 8, "\"imagos\"");
    CHECK(good.refusal() == ": value images: has no scale");
  }
  SUBCASE("there is no record") {
    good.content.metadata.erase("int8");
    CHECK(good.refusal() == ": has no int8 record");
  }
  SUBCASE("a tensor that nobody knows") {
    good.content.tensors["layer9.weight"] = ones({1});
    CHECK(good.refusal().find("layer9.weight") != std::string::npos);
  }
}

TEST_CASE("int8 file: a weights file is none, and a network in reals is not read from one") {
  const TemporaryFolder folder;
  const std::string reals = folder / "reals.safetensors", codes = folder / "codes.safetensors";
  fresh("resnet8_28")->save(reals);
  const WrittenInt8 written("resnet8_28", codes);
  CHECK_FALSE(is_int8_file(reals));
  CHECK_THROWS_AS(load_int8(reals), CheckpointError);
  CHECK_THROWS_WITH_AS(
      Network::load(codes),
      (codes + ": expected weights in reals, format vtrain 1, got format vtrain integers 1")
          .c_str(),
      CheckpointError);
}

// The parent writes network and logits; each level loads them in a process of its own.
TEST_CASE("int8 file: the same logits at this level") {
  const char* const given = std::getenv("VTRAIN_TEST_INT8_FILE");
  if (given == nullptr) return;  // the case below runs it
  const Int8Network read = load_int8(given);
  Plan plan(*read.network, read.quantization);
  const NamedTensors expected = read_safetensors(std::string(given) + ".logits");
  CHECK(is_same(plan.run(noise_for(*read.network, 5, 3)), expected.tensors.at("logits")));
}

TEST_CASE("int8 file: a convolutional network gives the same logits at every instruction level") {
  if (std::getenv("VTRAIN_TEST_INT8_FILE") != nullptr) return;
  const TemporaryFolder folder;
  for (const std::string model : {"resnet8_28", "mobilenet_v2_28"}) {
    const std::string path = folder / model;
    const WrittenInt8 written(model, path);
    Plan plan(*written.network, written.quantization);
    write_safetensors(path + ".logits",
                      {{{"logits", plan.run(noise_for(*written.network, 5, 3))}}, {}});
    const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
    for (const std::string level : {"baseline", "avx2", "avx512", "avx512_bf16"}) {
      CAPTURE(model);
      CAPTURE(level);
      const std::string environment =
          "VTRAIN_TEST_INT8_FILE=" + path + " VTRAIN_CPU_LEVEL=" + level;
      const auto run = [&](const std::string& name) {
        return std::system(
            (environment + ' ' + self + " '--test-case=" + name + "' > /dev/null 2>&1").c_str());
      };
      // A level that this CPU lacks cannot run any case.
      if (run("conv2d: the level is one*") != 0) continue;
      CHECK(run("int8 file: the same logits at this level") == 0);
    }
  }
}

TEST_CASE("int8 export: misuse ends in one clear line, its exit code, and no file") {
  const TemporaryFolder folder;
  const std::string weights = folder / "net.safetensors", out = folder / "out.safetensors";
  fresh("resnet8_28")->save(weights);
  const auto check_refused = [&](const std::vector<std::string>& more, const std::string& to,
                                 int code, const std::string& text) {
    std::vector<std::string> arguments{"export", weights, to, "--int8", "--data", "synthetic"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessResult result = run_vtrain(arguments);
    CAPTURE(result.errors);
    CHECK(result.exit_code == code);
    CHECK(result.errors.find(text) != std::string::npos);
    CHECK(std::count(result.errors.begin(), result.errors.end(), '\n') == 1);
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      CHECK(entry.path() == weights);
  };
  check_refused({"--images", "1"}, out, 2,
                "--images: expected at least 16 to calibrate with, got 1");
  check_refused({"--range", "widest"}, out, 2, "range: expected one of minmax");
  check_refused({"--skip", "conv77"}, out, 2, "skip: conv77 matches no layer");
  check_refused({}, folder / "none/out.safetensors", 8, "none/out.safetensors: ");
  check_refused({}, folder / "net.onnx", 2, "can then be exported as ONNX");
}

TEST_CASE("int8 export: the file is read by eval and bench, which run its integers") {
  const TemporaryFolder folder;
  const std::string weights = folder / "net.safetensors", out = folder / "out.safetensors";
  fresh("resnet8_28")->save(weights);
  const ProcessResult exported = run_vtrain({"export", weights, out, "--int8", "--data",
                                             "synthetic", "--images", "32", "--threads", "1"});
  CAPTURE(exported.errors);
  REQUIRE(exported.exit_code == 0);
  CHECK(exported.output.find("8 layers on integers, ranges minmax of 32 training images") !=
        std::string::npos);
  const ProcessResult evaluated =
      run_vtrain({"eval", out, "--data", "synthetic", "--threads", "1"});
  CHECK(evaluated.exit_code == 0);
  CHECK(evaluated.output.starts_with("* Acc@1 "));
  // What is on integers already keeps its scales.
  const auto again = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{"export", out,         folder / "two", "--int8",
                                 "--data", "synthetic", "--threads",    "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run_vtrain(all).exit_code;
  };
  CHECK(again({"--skip", "conv1"}) == 2);
  CHECK(again({}) == 0);
  CHECK(file_content(folder / "two") == file_content(out));
}

}  // namespace
}  // namespace vtrain
