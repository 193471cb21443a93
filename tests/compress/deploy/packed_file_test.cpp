#include "compress/deploy/packed_file.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "compress/deploy/packed_weights.h"
#include "tests/process.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

/// A network with three packed weights, in its file.
struct WrittenPacked {
  TemporaryFolder folder;
  std::string path = folder / "net.safetensors";
  std::unique_ptr<Network> network = std::make_unique<Network>(
      Architecture{.model = "resnet8_28", .options = find_model("resnet8_28").usual, .parts = {}});
  std::vector<PackedWeight> weights;

  WrittenPacked() {
    network->initialise(4);
    network->preprocessing = {.mean = {0.25}, .std = {0.5}, .class_names = {}};
    add("conv1.weight", 3, from_values({2}, {0.5, -0.25}), PackedWeight::Scales::kSign);
    std::vector<double> channels;
    for (int i = 0; i < 32; ++i) channels.push_back(0.125 * (i - 7.5));
    add("layer3.0.conv2.weight", 15, from_values({32}, channels), PackedWeight::Scales::kChannel);
    add("linear.weight", 201, from_values({1}, {0.01}), PackedWeight::Scales::kTensor);
    save_packed(path, *network, weights);
  }

  void add(const std::string& weight, int64_t levels, const Tensor& scale,
           PackedWeight::Scales scales) {
    Parameter parameter = network->parameter(weight);
    std::vector<double> codes;
    for (int64_t i = 0; i < parameter.value().numel(); ++i)
      codes.push_back(static_cast<double>(i * 7 % levels - levels / 2));
    weights.push_back({.path = weight,
                       .codes = from_values(parameter.value().shape(), codes, DType::i8),
                       .scale = scale,
                       .scales = scales});
    parameter.set(reals_of(weights.back()));
  }

  std::string refusal(const NamedTensors& content) const {
    write_safetensors(path, content);
    try {
      load_packed(path);
    } catch (const CheckpointError& error) {
      return std::string(error.what()).substr(path.size());
    }
    return "";
  }
};

TEST_CASE("packed file: codes times scales, of the tensor, the channel or the sign") {
  const Tensor codes = from_values({2, 2}, {1, -1, 0, 1}, DType::i8);
  const auto reals = [&](const Tensor& scale, PackedWeight::Scales scales) {
    return reals_of({.path = "w", .codes = codes, .scale = scale, .scales = scales}).to_vector();
  };
  CHECK(reals(from_values({1}, {0.5}), PackedWeight::Scales::kTensor) ==
        std::vector<double>{0.5, -0.5, 0, 0.5});
  CHECK(reals(from_values({2}, {0.5, 2}), PackedWeight::Scales::kChannel) ==
        std::vector<double>{0.5, -0.5, 0, 2});
  CHECK(reals(from_values({2}, {0.5, 2}), PackedWeight::Scales::kSign) ==
        std::vector<double>{2, -0.5, 0, 2});
}

TEST_CASE("packed file: what comes back is the network, to the bit") {
  const WrittenPacked written;
  CHECK(is_packed_file(written.path));
  const auto read = load_reals(written.path);
  CHECK(read->preprocessing.mean == std::vector<double>{0.25});
  for (const auto& [name, tensor] : written.network->state()) {
    CAPTURE(name);
    CHECK(read->state().at(name).to_vector() == tensor.to_vector());
  }
  // A file in reals is no packed one, and is read all the same.
  const std::string reals = written.folder / "reals.safetensors";
  written.network->save(reals);
  CHECK(!is_packed_file(reals));
  CHECK(load_reals(reals)->state().at("conv1.weight").to_vector() ==
        written.network->state().at("conv1.weight").to_vector());
}

TEST_CASE("packed file: weights take the bytes of the formula") {
  const WrittenPacked written;
  const NamedTensors file = read_safetensors(written.path);
  // Rows of 9 codes of 2 bits, of 288 codes of 4 bits, of 32 bytes.
  CHECK(file.tensors.at("conv1.weight").shape() == Shape{8, 3});
  CHECK(file.tensors.at("layer3.0.conv2.weight").shape() == Shape{32, 144});
  CHECK(file.tensors.at("linear.weight").dtype() == DType::i8);
  const PackedSize size = packed_size(written.weights);
  CHECK(size.weights == 8 * 9 + 32 * 288 + 320);
  CHECK(size.bytes == 8 * 3 + 8 + 32 * 144 + 32 * 4 + 320 + 4);
  int64_t stored = 0;
  for (const PackedWeight& weight : written.weights)
    stored +=
        file.tensors.at(weight.path).bytes() + file.tensors.at(weight.path + "_scale").bytes();
  CHECK(stored == size.bytes);
}

TEST_CASE("packed file: powers of two up to 128 come back; other codes beyond a byte are refused") {
  const TemporaryFolder folder;
  Network network({.model = "resnet8_28", .options = find_model("resnet8_28").usual, .parts = {}});
  const auto weight = [](double largest) {
    return PackedWeight{.path = "linear.weight",
                        .codes = full({10, 32}, largest, DType::i32),
                        .scale = from_values({1}, {0.0078125})};
  };
  network.parameter("linear.weight").set(reals_of(weight(128)));
  save_packed(folder / "p", network, {weight(128)});
  CHECK(load_packed(folder / "p")->parameter("linear.weight").value().to_vector() ==
        std::vector<double>(320, 1));
  CHECK(packed_size({weight(128)}).bytes == 10 * 20 + 4);
  CHECK_THROWS_WITH_AS(save_packed(folder / "p", network, {weight(200)}),
                       "packed weights: linear.weight: no format holds its codes", Error);
}

TEST_CASE("packed file: what is missing, unknown or impossible is named") {
  const WrittenPacked written;
  const NamedTensors good = read_safetensors(written.path);
  const auto with = [&](const std::string& from, const std::string& to) {
    NamedTensors changed = good;
    std::string& record = changed.metadata["packed"];
    const size_t at = record.find(from);
    REQUIRE(at != std::string::npos);
    record.replace(at, from.size(), to);
    return written.refusal(changed);
  };
  CHECK(with("trit2", "trit5") ==
        ": conv1.weight: packed weights: expected one of bits1, trit2, int4, odd4, pow2n, pow2w, "
        "got trit5");
  CHECK(with("trit2", "bits1") ==
        ": conv1.weight: expected u8 (8, 2) for bits1 of (8, 1, 3, 3), got u8 (8, 3) on cpu");
  CHECK(with("sign", "row") ==
        ": conv1.weight: scales: expected one of tensor, channel, sign, got row");
  CHECK(with("conv1.weight", "conv7.weight") == ": conv7.weight: is missing");
  NamedTensors changed = good;
  changed.tensors.erase("conv1.weight_scale");
  CHECK(written.refusal(changed) == ": conv1.weight_scale: is missing");
  changed = good;
  changed.tensors["conv1.weight_scale"] = ones({3});
  CHECK(written.refusal(changed) == ": conv1.weight_scale: expected f32 (2), got f32 (3) on cpu");
  changed = good;
  changed.metadata["format"] = "vtrain packed 9";
  CHECK(written.refusal(changed) == ": format: expected vtrain packed 1, got vtrain packed 9");
  changed = good;
  changed.metadata["packed"] = "[]";
  CHECK(written.refusal(changed) == ": its packed record cannot be read");
  write_safetensors(written.path, good);
  CHECK_THROWS_WITH_AS(Network::load(written.path), doctest::Contains("expected weights in reals"),
                       CheckpointError);
}

TEST_CASE("packed file: eval, bench and export read it") {
  const WrittenPacked written;
  const std::vector<std::string> rest = {"--threads", "1"};
  const ProcessResult packed =
      run_vtrain({"eval", written.path, "--data", "synthetic", "--threads", "1"});
  REQUIRE_MESSAGE(packed.exit_code == 0, packed.errors);
  const std::string reals = written.folder / "reals.safetensors";
  written.network->save(reals);
  CHECK(run_vtrain({"eval", reals, "--data", "synthetic", "--threads", "1"}).output ==
        packed.output);
  const ProcessResult exported =
      run_vtrain({"export", written.path, written.folder / "q.safetensors", "--int8", "--data",
                  "synthetic", "--images", "32", "--threads", "1"});
  CHECK_MESSAGE(exported.exit_code == 0, exported.errors);
}

}  // namespace
}  // namespace vtrain
