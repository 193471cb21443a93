#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "compress/deploy/onnx.h"
#include "tensor/random.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

/// A network on integers.
struct OnIntegers {
  std::unique_ptr<Network> network;
  Quantization quantization;

  explicit OnIntegers(const std::string& model, const CalibrationOptions& options = {})
      : network(std::make_unique<Network>(
            Architecture{.model = model, .options = find_model(model).usual, .parts = {}})) {
    network->initialise(3);
    for (Parameter p : network->parameters()) {
      if (p.path().ends_with(".running_mean"))
        p.set(Random(5, "", p.path()).normal(p.value().shape(), {}));
    }
    const std::vector<Tensor> seen{images(32, 1)};
    quantization = calibrate(*network, Graph(*network), seen, options);
  }
  Tensor images(int64_t count, int64_t step = 0) const {
    const ModelOptions& o = network->architecture().options;
    return Random(7, "", "images")
        .normal({count, o.channels, o.image_size, o.image_size}, {.step = step});
  }
};

const OnnxNode* maker_of(const OnnxFile& file, const std::string& value) {
  for (const OnnxNode& node : file.nodes) {
    if (std::ranges::find(node.outputs, value) != node.outputs.end()) return &node;
  }
  return nullptr;
}
const Tensor* constant_of(const OnnxFile& file, const std::string& name) {
  for (const auto& [own, tensor] : file.initializers) {
    if (own == name) return &tensor;
  }
  return nullptr;
}
int64_t count(const OnnxFile& file, const std::string& op) {
  return std::ranges::count(file.nodes, op, &OnnxNode::op);
}

/// What makes integer layers of them in other runtimes: codes with scales per channel, a bias in
/// units of the sums, values that come from u8.
TEST_CASE(
    "onnx int8: layers read codes of a byte, with a scale per channel and a bias of 32 bits") {
  const OnIntegers own("resnet8_28");
  const OnnxFile file = onnx_of(*own.network, own.quantization);
  CHECK(count(file, "BatchNormalization") == 0);
  int64_t layers = 0;
  for (const OnnxNode& node : file.nodes) {
    if (node.op != "Conv" && node.op != "Gemm") continue;
    CAPTURE(node.name);
    ++layers;
    REQUIRE(node.inputs.size() == 3);
    DType dtypes[] = {DType::u8, DType::i8, DType::i32};
    for (size_t i = 0; i < 3; ++i) {
      const OnnxNode* const real = maker_of(file, node.inputs[i]);
      REQUIRE(real);
      CHECK(real->op == "DequantizeLinear");
      const Tensor* const zero = constant_of(file, real->inputs[2]);
      REQUIRE(zero);
      CHECK(zero->dtype() == dtypes[i]);
      const Tensor* const scale = constant_of(file, real->inputs[1]);
      REQUIRE(scale);
      CHECK(scale->shape() == (i == 0 ? Shape{} : Shape{zero->dim(0)}));
      if (i == 0) continue;
      CHECK(constant_of(file, real->inputs[0])->dim(0) == scale->dim(0));
      CHECK(std::get<int64_t>(real->attributes.at("axis")) == 0);
    }
  }
  CHECK(layers == 8);
  // Each rounded value passes one pair; the pool's mean is one of them.
  CHECK(count(file, "QuantizeLinear") == static_cast<int64_t>(own.quantization.values.size()));
}

TEST_CASE("onnx int8: initializers are the codes and scales of the layers") {
  const OnIntegers own("resnet8_28");
  const OnnxFile file = onnx_of(*own.network, own.quantization);
  for (const QuantizedLayer& layer : own.quantization.layers) {
    CAPTURE(layer.weight_path);
    const Tensor* const codes = constant_of(file, layer.weight_path);
    REQUIRE(codes);
    CHECK(codes->to_vector() == layer.quantizer.codes(layer.weight).to_vector());
    CHECK(constant_of(file, layer.weight_path + "_scale")->to_vector() ==
          layer.quantizer.scale().to_vector());
    // The bias to half a unit of the sum.
    const std::vector<double> bias = layer.bias.to_vector(),
                              b = constant_of(file, layer.weight_path + "_bias")->to_vector(),
                              s = constant_of(file, layer.weight_path + "_bias_scale")->to_vector();
    for (size_t o = 0; o < bias.size(); ++o)
      CHECK(std::abs(b[o] * s[o] - bias[o]) <= 0.5001 * s[o]);
  }
}

TEST_CASE("onnx int8: fewer bits are clipped, skipped layers stay real") {
  const OnIntegers four("resnet8_28", {.weight_bits = 4, .activation_bits = 4});
  CHECK(count(onnx_of(*four.network, four.quantization), "Clip") ==
        static_cast<int64_t>(four.quantization.values.size()));
  const OnIntegers skipped("resnet8_28", {.skip = {"layer2.0.*"}});
  const OnnxFile file = onnx_of(*skipped.network, skipped.quantization);
  CHECK(count(file, "BatchNormalization") == 2);
  CHECK(constant_of(file, "layer2.0.conv1.weight")->dtype() == DType::f32);
}

TEST_CASE("onnx int8: a runtime gives the classes of the plan on integers") {
  for (const std::string model : {"resnet8_28", "mobilenet_v2_28", "deit_micro_patch4_28"}) {
    CAPTURE(model);
    const OnIntegers own(model);
    const TemporaryFolder folder;
    const OnnxReport report =
        export_onnx(*own.network, own.quantization, folder / "x.onnx", own.images(20));
    if (report.runtime.empty()) {
      MESSAGE("skipped: ", report.why_not);
      continue;
    }
    CHECK(report.same_class == 20);
    CHECK(report.difference < 0.1);
    CHECK(report.difference > 0);  // eight bits, rounded by another
  }
}

TEST_CASE("onnx int8: a file with other numbers is refused, exit code 6, and nothing is left") {
  const OnIntegers own("resnet8_28");
  const TemporaryFolder folder;
  OnnxFile file = onnx_of(*own.network, own.quantization);
  for (auto& [name, tensor] : file.initializers) {
    if (name == "layer3.0.conv2.weight_scale") tensor = full(tensor.shape(), 1.0);
  }
  const std::string path = folder / "x.onnx";
  put_file(path, onnx_bytes(file));
  CHECK_THROWS_WITH_AS(check_onnx(onnx_of(*own.network, own.quantization), path),
                       doctest::Contains("layer3.0.conv2.weight_scale"), Error);
  try {
    const OnnxReport report = compare_onnx(*own.network, own.quantization, path, own.images(20));
    REQUIRE(report.runtime.empty());
    MESSAGE("skipped: ", report.why_not);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kVerification);
    CHECK(std::string(error.what()).find("the plan on integers") != std::string::npos);
  }
}

TEST_CASE("onnx int8: vtrain export writes an integer file as ONNX and says what it saw") {
  const TemporaryFolder folder;
  const std::string weights = folder / "w.safetensors", codes = folder / "codes.safetensors",
                    out = folder / "w.onnx";
  OnIntegers("resnet8_28").network->save(weights);
  const ProcessResult rounded = run_vtrain({"export", weights, codes, "--int8", "--data",
                                            "synthetic", "--images", "32", "--threads", "1"});
  CAPTURE(rounded.errors);
  REQUIRE(rounded.exit_code == 0);
  const ProcessResult result =
      run_vtrain({"export", codes, out, "--data", "synthetic", "--threads", "1"});
  CAPTURE(result.errors);
  CHECK(result.exit_code == 0);
  CHECK(result.output.find("w.onnx: ONNX, opset 17, ") != std::string::npos);
  CHECK(std::filesystem::file_size(out) * 2 < std::filesystem::file_size(weights));
}

}  // namespace
}  // namespace vtrain
