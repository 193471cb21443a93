#include "compress/deploy/packed_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "compress/deploy/packed_weights.h"
#include "nn/network_file.h"

namespace vtrain {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "vtrain packed 1";
constexpr const char* kBytes = "int8";  // the name for a byte each

constexpr std::array<std::pair<PackedWeight::Scales, const char*>, 3> kScales = {{
    {PackedWeight::Scales::kTensor, "tensor"},
    {PackedWeight::Scales::kChannel, "channel"},
    {PackedWeight::Scales::kSign, "sign"},
}};

std::string scale_name(const std::string& weight) { return weight + "_scale"; }

int64_t scale_count(PackedWeight::Scales scales, int64_t outputs) {
  switch (scales) {
    case PackedWeight::Scales::kTensor:
      return 1;
    case PackedWeight::Scales::kChannel:
      return outputs;
    case PackedWeight::Scales::kSign:
      return 2;
  }
  throw Error("packed weights: there are three kinds of scales");
}

/// Reads one file, part by part; what does not fit is an error that names file and part.
class PackedReader {
 public:
  explicit PackedReader(const std::string& path) : path_(path), file_(read_safetensors(path)) {}

  std::unique_ptr<Network> read() {
    if (text("format") != kFormat)
      fail(str("format: expected ", kFormat, ", got ", text("format")));
    auto network = std::make_unique<Network>(Architecture::from_json(text("architecture")));
    const Json preprocessing = parsed("preprocessing"), packed = parsed("packed");
    network->preprocessing = {preprocessing.value("mean", std::vector<double>{}),
                              preprocessing.value("std", std::vector<double>{}),
                              preprocessing.value("class_names", std::vector<std::string>{}),
                              preprocessing.value("crop_pct", 0.0),
                              preprocessing.value("interpolation", std::string{})};
    for (const auto& item : packed.items()) {
      if (!file_.tensors.contains(item.key())) fail(item.key() + ": is missing");
      file_.tensors[item.key()] = reals_of(weight(*network, item.key(), item.value()));
      file_.tensors.erase(scale_name(item.key()));
    }
    network->load_state(file_.tensors, path_);
    return network;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(str(path_, ": ", what));
  }
  const std::string& text(const std::string& key) const {
    const auto found = file_.metadata.find(key);
    if (found == file_.metadata.end()) fail("has no " + key + " record");
    return found->second;
  }
  Json parsed(const std::string& key) const {
    Json json = Json::parse(text(key), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail(str("its ", key, " record cannot be read"));
    return json;
  }

  PackedWeight weight(Network& network, const std::string& path, const Json& entry) const {
    if (!entry.is_object() || !entry.contains("format") || !entry.contains("scales") ||
        !entry["format"].is_string() || !entry["scales"].is_string())
      fail(path + ": expected its format and its kind of scales");
    const auto scales =
        std::ranges::find(kScales, entry["scales"].get<std::string>(),
                          [](const auto& known) { return std::string(known.second); });
    if (scales == kScales.end())
      fail(str(path, ": scales: expected one of tensor, channel, sign, got ",
               entry["scales"].get<std::string>()));
    PackedWeight weight{.path = path,
                        .codes = codes(shape_of(network, path), path, entry["format"]),
                        .scale = {},
                        .scales = scales->first};
    const auto scale = file_.tensors.find(scale_name(path));
    if (scale == file_.tensors.end()) fail(scale_name(path) + ": is missing");
    weight.scale = scale->second;
    const Shape expected{scale_count(weight.scales, weight.codes.dim(0))};
    if (weight.scale.dtype() != DType::f32 || weight.scale.shape() != expected)
      fail(str(scale_name(path), ": expected f32 ", expected, ", got ", weight.scale.text()));
    for (const double s : weight.scale.to_vector()) {
      if (!std::isfinite(s)) fail(scale_name(path) + ": holds a value that is not finite");
    }
    return weight;
  }

  Shape shape_of(Network& network, const std::string& path) const {
    const std::map<std::string, Tensor> own = network.state();
    const auto found = own.find(path);
    if (found == own.end()) fail(path + ": the network has no such weight");
    return found->second.shape();
  }

  Tensor codes(const Shape& shape, const std::string& path, const std::string& format) const {
    const Tensor& stored = file_.tensors.at(path);
    if (format == kBytes) {
      if (stored.dtype() != DType::i8 || stored.shape() != shape)
        fail(str(path, ": expected i8 ", shape, ", got ", stored.text()));
      return stored;
    }
    try {
      return unpack(stored, shape, packed_format(format));
    } catch (const CheckpointError& error) {
      fail(str(path, ": ", error.what()));
    }
  }

  std::string path_;
  NamedTensors file_;
};

}  // namespace

Tensor reals_of(const PackedWeight& weight) {
  std::vector<double> values = weight.codes.to_vector();
  const std::vector<double> scale = weight.scale.to_vector();
  const size_t length = values.size() / static_cast<size_t>(weight.codes.dim(0));
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t which = weight.scales == PackedWeight::Scales::kTensor    ? 0
                         : weight.scales == PackedWeight::Scales::kChannel ? i / length
                                                                           : values[i] > 0;
    values[i] *= scale[which];
  }
  return from_values(weight.codes.shape(), values);
}

void save_packed(const std::string& path, const Network& network,
                 const std::vector<PackedWeight>& weights) {
  NamedTensors file{network.state(), {}};
  Json packed = Json::object();
  for (const PackedWeight& weight : weights) {
    const std::optional<PackedFormat> format = packed_format_of(weight.codes);
    if (!format && weight.codes.dtype() != DType::i8)
      throw Error(str("packed weights: ", weight.path, ": no format holds its codes"));
    file.tensors.at(weight.path) = format ? pack(weight.codes, *format) : weight.codes;
    file.tensors[scale_name(weight.path)] = weight.scale;
    const auto scales =
        std::ranges::find(kScales, weight.scales, [](const auto& known) { return known.first; });
    packed[weight.path] = {{"format", format ? name_of(*format) : kBytes},
                           {"scales", scales->second}};
  }
  file.metadata["format"] = kFormat;
  file.metadata["packed"] = packed.dump();
  write_network_file(path, network, std::move(file));
}

std::unique_ptr<Network> load_packed(const std::string& path) { return PackedReader(path).read(); }

bool is_packed_file(const std::string& path) {
  const std::map<std::string, std::string> metadata = read_safetensors_metadata(path);
  const auto format = metadata.find("format");
  return format != metadata.end() && format->second == kFormat;
}

std::unique_ptr<Network> load_reals(const std::string& path) {
  return is_packed_file(path) ? load_packed(path) : Network::load(path);
}

PackedSize packed_size(const std::vector<PackedWeight>& weights) {
  PackedSize size;
  for (const PackedWeight& weight : weights) {
    const std::optional<PackedFormat> format = packed_format_of(weight.codes);
    size.weights += weight.codes.numel();
    size.bytes += format ? weight.codes.dim(0) * packed_row_bytes(weight.codes.shape(), *format)
                         : weight.codes.numel();
    size.bytes += weight.scale.bytes();
  }
  return size;
}

}  // namespace vtrain
