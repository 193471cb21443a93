#include "compress/deploy/onnx.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "autograd/shape.h"
#include "autograd/tokens.h"
#include "compress/deploy/onnx/run.h"
#include "nn/module_registry.h"
#include "tensor/ops/unary.h"
#include "tensor/random.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

std::unique_ptr<Network> network_of(const std::string& model) {
  auto network = std::make_unique<Network>(
      Architecture{.model = model, .options = find_model(model).usual, .parts = {}});
  network->initialise(3);
  // Statistics as training leaves them: a batch norm of mean 0 and variance 1 would hide a swap.
  for (Parameter p : network->parameters()) {
    const Random random(5, "", p.path());
    if (p.path().ends_with(".running_mean")) p.set(random.normal(p.value().shape(), {}));
    if (p.path().ends_with(".running_var")) p.set(exp(random.normal(p.value().shape(), {})));
  }
  return network;
}

Tensor noise(const Network& network, int64_t count) {
  const ModelOptions& o = network.architecture().options;
  return Random(7, "", "images").normal({count, o.channels, o.image_size, o.image_size}, {});
}

int64_t count(const OnnxFile& file, const std::string& op) {
  return std::ranges::count(file.nodes, op, &OnnxNode::op);
}

/// Every parameter is an initializer of its own name and bits.
void check_parameters(Network& network, const OnnxFile& file) {
  for (const Parameter& p : network.parameters()) {
    CAPTURE(p.path());
    const auto found =
        std::ranges::find(file.initializers, p.path(), &std::pair<std::string, Tensor>::first);
    REQUIRE(found != file.initializers.end());
    CHECK(found->second.shape() == p.value().shape());
    CHECK(found->second.to_vector() == p.value().to_vector());
  }
}

/// What stands in the file after it was written and read.
OnnxFile written(Network& network) {
  const TemporaryFolder folder;
  put_file(folder / "x.onnx", onnx_bytes(onnx_of(network)));
  CHECK_NOTHROW(check_onnx(onnx_of(network), folder / "x.onnx"));
  return read_onnx(folder / "x.onnx");
}

/// The relative difference on noise, where a runtime can be had; else -1 with a line that says so.
double difference(Network& network, const std::string& path) {
  const OnnxReport report = compare_onnx(network, path, noise(network, 5), {.batch = 2});
  if (!report.runtime.empty()) return report.difference;
  MESSAGE("skipped: ", report.why_not);
  return -1;
}

TEST_CASE("onnx: a residual network's file has its layers, parameters and an open batch") {
  const auto network = network_of("resnet8_28");
  const OnnxFile file = written(*network);
  check_parameters(*network, file);
  // Three blocks of two convolutions behind the stem's; each with a normalisation and a relu.
  CHECK(count(file, "Conv") == 7);
  CHECK(count(file, "BatchNormalization") == 7);
  CHECK(count(file, "Relu") == 7);
  CHECK(count(file, "Add") == 3);
  CHECK(count(file, "Gemm") == 1);
  CHECK(count(file, "Pad") == 2);  // option A, where the width doubles
  CHECK(file.inputs == std::vector<OnnxValue>{{"images", DType::f32, {-1, 1, 28, 28}}});
  CHECK(file.outputs == std::vector<OnnxValue>{{"logits", DType::f32, {-1, 10}}});
  const OnnxNode& first = file.nodes[0];
  CHECK(first.op == "Conv");
  CHECK(first.name == "conv1/conv2d.0");
  CHECK(first.inputs == std::vector<std::string>{"images", "conv1.weight"});
  CHECK(first.attributes.at("pads") == OnnxAttribute(std::vector<int64_t>{1, 1, 1, 1}));
  CHECK(first.attributes.at("group") == OnnxAttribute(int64_t{1}));
}

TEST_CASE("onnx: a transformer's file has its layers, parameters and an open batch") {
  const auto network = network_of("deit_micro_patch4_28");
  const OnnxFile file = written(*network);
  check_parameters(*network, file);
  // Six blocks: four linear layers, the two products of attention; the patches are a seventh.
  CHECK(count(file, "MatMul") == 6 * 6 + 1);
  CHECK(count(file, "Gemm") == 1);  // the head
  CHECK(count(file, "LayerNormalization") == 2 * 6 + 1);
  CHECK(count(file, "Softmax") == 6);
  CHECK(count(file, "Erf") == 6);
  CHECK(count(file, "Shape") == 1);  // the class token is repeated for as many images as there are
  CHECK(file.outputs == std::vector<OnnxValue>{{"logits", DType::f32, {-1, 10}}});
  const auto qkv = std::ranges::find(file.values, "blocks.2.attn.qkv/linear.0", &OnnxValue::name);
  REQUIRE(qkv != file.values.end());
  CHECK(qkv->shape == Shape{-1, 50, 288});
}

TEST_CASE("onnx: a network of depthwise convolutions keeps its groups") {
  const auto network = network_of("mobilenet_v2_28");
  const OnnxFile file = written(*network);
  check_parameters(*network, file);
  int64_t depthwise = 0;
  for (const OnnxNode& node : file.nodes) {
    if (node.op != "Conv") continue;
    const auto group = std::get<int64_t>(node.attributes.at("group"));
    const Shape w = network->parameter(node.inputs[1]).value().shape();
    if (group == 1) continue;
    ++depthwise;
    CHECK(w[0] == group);
    CHECK(w[1] == 1);
  }
  CHECK(depthwise == 6);  // one a block
}

TEST_CASE("onnx: further heads are outputs under their names") {
  Network network({.model = "deit_tiny_distilled_patch16_224",
                   .options = {.num_classes = 3, .channels = 3, .image_size = 32},
                   .parts = {}});
  network.initialise(2);
  const OnnxFile file = written(network);
  CHECK(file.outputs == std::vector<OnnxValue>{{"logits", DType::f32, {-1, 3}},
                                               {"cls", DType::f32, {-1, 3}},
                                               {"dist", DType::f32, {-1, 3}}});
}

TEST_CASE("onnx: the metadata say how pixels become inputs and what the classes are called") {
  const auto network = network_of("resnet8_28");
  network->preprocessing = {.mean = {0.25}, .std = {0.5}, .class_names = {"coat", "\"bag\""}};
  const OnnxFile file = written(*network);
  CHECK(file.metadata.at("mean") == "[0.25]");
  CHECK(file.metadata.at("std") == "[0.5]");
  CHECK(file.metadata.at("class_names") == R"(["coat","\"bag\""])");
  CHECK(Architecture::from_json(file.metadata.at("architecture")).model == "resnet8_28");
  CHECK_FALSE(file.metadata.contains("crop_pct"));
}

TEST_CASE("onnx: a runtime computes what the network computes, on batches of other sizes too") {
  for (const std::string model : {"resnet8_28", "vgg_bn_28", "mobilenet_v2_28",
                                  "deit_micro_patch4_28", "vit_nano_patch4_28"}) {
    CAPTURE(model);
    const auto network = network_of(model);
    const TemporaryFolder folder;
    const OnnxReport report = export_onnx(*network, folder / "x.onnx", noise(*network, 5),
                                          {.tolerance = 1e-5, .batch = 2});
    CHECK(report.bytes == static_cast<int64_t>(std::filesystem::file_size(folder / "x.onnx")));
    CHECK(report.parameters == network->parameter_count());
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    if (report.runtime.empty()) {
      MESSAGE("skipped: ", report.why_not);
      continue;
    }
    CHECK(report.images == 5);
    CHECK(report.same_class == 5);
    CHECK(report.difference < 1e-5);  // f32 over some hundred terms a sum
  }
}

TEST_CASE("onnx: a network that gathers tokens is exported with its choice") {
  const auto network = network_of("deit_micro_patch4_28");
  network->set_part(
      "blocks.2.in",
      make_module("dynamicvit_keep_top", {{"k", 30}, {"stage", 0}, {"dim", 96}, {"random", 0}}));
  network->initialise(4);
  const TemporaryFolder folder;
  put_file(folder / "x.onnx", onnx_bytes(onnx_of(*network)));
  CHECK_NOTHROW(check_onnx(onnx_of(*network), folder / "x.onnx"));
  const OnnxFile file = read_onnx(folder / "x.onnx");
  CHECK(count(file, "TopK") == 2);  // the best, and their order
  CHECK(count(file, "GatherND") == 1);
  CHECK(difference(*network, folder / "x.onnx") < 1e-5);
}

TEST_CASE("onnx: what differs from batch to batch without the images is refused with its layer") {
  const auto network = network_of("deit_micro_patch4_28");
  network->set_part(
      "blocks.2.in",
      make_module("dynamicvit_keep_top", {{"k", 30}, {"stage", 0}, {"dim", 96}, {"random", 1}}));
  CHECK_THROWS_WITH_AS(
      onnx_of(*network),
      doctest::Contains("blocks.2.in/select_top.0: the op select_top cannot be exported: a value "
                        "(1, 49) that it reads differs from batch to batch"),
      Error);
}

/// Adds what no op of ONNX computes.
class OpWithoutForm final : public Module {
 public:
  Variable forward(const Variable& x, const Pass&) override {
    return straight_through(x.value(), x);
  }
};

TEST_CASE("onnx: an op without a form is named with its layer") {
  const auto network = network_of("resnet8_28");
  network->module("linear").set_part("in", std::make_shared<OpWithoutForm>());
  CHECK_THROWS_WITH_AS(onnx_of(*network),
                       "linear.in/straight_through.0: the op straight_through cannot be exported: "
                       "it has no form in ONNX",
                       Error);
}

TEST_CASE("onnx: a file that is not the network is refused with what is wrong") {
  const auto network = network_of("resnet8_28");
  const TemporaryFolder folder;
  const std::string path = folder / "x.onnx";
  const OnnxFile good = onnx_of(*network);
  const auto check_refused = [&](const OnnxFile& file, const char* message) {
    put_file(path, onnx_bytes(file));
    CHECK_THROWS_WITH_AS(check_onnx(onnx_of(*network), path), doctest::Contains(message), Error);
  };
  OnnxFile file = good;
  file.initializers[1].second = file.initializers[1].second.clone();
  file.initializers[1].second.data<float>()[0] += 1;
  check_refused(file, file.initializers[1].first.c_str());

  file = good;
  std::swap(file.nodes[0], file.nodes[1]);
  check_refused(file, "node 0: expected Conv conv1/conv2d.0");

  file = good;
  file.metadata["mean"] = "[1]";
  check_refused(file, "metadata");

  put_file(path, "no model");
  CHECK_THROWS_WITH_AS(check_onnx(onnx_of(*network), path), doctest::Contains("is no ONNX model"),
                       Error);
}

TEST_CASE("onnx: a mismatch names the first layer that differs, exit code 6") {
  const auto network = network_of("resnet8_28");
  const TemporaryFolder folder;
  OnnxFile file = onnx_of(*network);
  for (auto& [name, tensor] : file.initializers) {
    if (name != "layer2.0.conv2.weight") continue;
    tensor = tensor.clone();
    tensor.data<float>()[0] += 0.5F;
  }
  put_file(folder / "x.onnx", onnx_bytes(file));
  try {
    const OnnxReport report = compare_onnx(*network, folder / "x.onnx", noise(*network, 5));
    REQUIRE(report.runtime.empty());
    MESSAGE("skipped: ", report.why_not);
  } catch (const Error& error) {
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(error.code() == ExitCode::kVerification);
    CHECK(message.find("the first layer that differs is layer2.0.conv2/conv2d.0, by ") !=
          std::string::npos);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("onnx: ONNX's own checker finds an attribute, an op or a shape that is wrong") {
  const auto network = network_of("resnet8_28");
  const TemporaryFolder folder;
  const std::string path = folder / "x.onnx";
  const auto fault = [&](const OnnxFile& file) {
    put_file(path, onnx_bytes(file));
    return onnx_fault(path);
  };
  const OnnxFile good = onnx_of(*network);
  CHECK(fault(good).empty());
  OnnxFile file = good;
  file.nodes[0].op = "Convolve";
  CHECK(fault(file).find("Convolve") != std::string::npos);
  file = good;
  file.nodes[0].attributes["padding"] = int64_t{1};
  CHECK(fault(file).find("padding") != std::string::npos);
  file = good;
  file.values[0].shape[1] += 1;
  CHECK_FALSE(fault(file).empty());
}

TEST_CASE("onnx: vtrain export writes, checks and says what it saw") {
  const TemporaryFolder folder;
  network_of("resnet8_28")->save(folder / "w.safetensors");
  const ProcessResult result = run_vtrain(
      {"export", folder / "w.safetensors", folder / "w.onnx", "--data", "fashion_mnist"});
  CAPTURE(result.errors);
  CHECK(result.exit_code == 0);
  CHECK(result.output.find("w.onnx: ONNX, opset 17, ") != std::string::npos);
  const bool was_run = result.output.find("100 images of fashion_mnist") != std::string::npos;
  const bool was_not = result.output.find("not run: ") != std::string::npos;
  CHECK(was_run != was_not);
  CHECK(std::filesystem::exists(folder / "w.onnx"));
}

TEST_CASE("onnx: vtrain export without a runtime says so") {
  const TemporaryFolder folder;
  network_of("resnet8_28")->save(folder / "w.safetensors");
  const ProcessResult result = run_vtrain(
      {"export", folder / "w.safetensors", "--out", folder / "w.onnx", "--format", "onnx"},
      {.environment = {"PYTHON=/nonexistent/python"}});
  CHECK(result.exit_code == 0);
  CHECK(result.output.find("not run: cannot start /nonexistent/python") != std::string::npos);
}

TEST_CASE("onnx: vtrain export refuses in one line and leaves no file") {
  const TemporaryFolder folder;
  const std::string weights = folder / "w.safetensors";
  network_of("resnet8_28")->save(weights);
  const auto check_refused = [&](const std::vector<std::string>& arguments, int exit_code,
                                 const std::string& text, const ProcessOptions& options = {}) {
    const ProcessResult result = run_vtrain(arguments, options);
    CAPTURE(result.errors);
    CHECK(result.exit_code == exit_code);
    CHECK(result.errors.find(text) != std::string::npos);
    CHECK(std::ranges::count(result.errors, '\n') == 1);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  };
  check_refused({"export", weights, "/nonexistent/w.onnx"}, 8, "/nonexistent/w.onnx: ");
  check_refused({"export", weights, folder / "w.tflite"}, 2, "expected a name that ends in .onnx");
  check_refused(
      {"export", weights, folder / "w.onnx", "--data", "cifar10", "--root", "/nonexistent"}, 3,
      "/nonexistent");
  check_refused({"export", folder / "v.safetensors", folder / "w.onnx"}, 7, "v.safetensors");
  check_refused({"export", weights, folder / "w.onnx"}, 8, "w.onnx", {.file_size_limit = 10000});
}

}  // namespace
}  // namespace vtrain
