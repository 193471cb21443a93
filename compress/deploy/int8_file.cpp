#include "compress/deploy/int8_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "compress/deploy/packed_weights.h"
#include "compress/deploy/twin.h"
#include "nn/network_file.h"

namespace vtrain {
namespace {

using Json = nlohmann::ordered_json;
using Tensors = std::map<std::string, Tensor>;

constexpr const char* kFormat = "vtrain integers 1";

/// The names of a layer's tensors in the file.
std::string scale_name(const std::string& weight_path) { return weight_path + "_scale"; }
std::string bias_name(const std::string& weight_path) {
  return weight_path.substr(0, weight_path.rfind('.')) + ".folded_bias";
}

const Graph::Node& graph_node(const Graph& graph, int index) {
  return graph.nodes()[static_cast<size_t>(index)];
}
/// The op that makes a value, by its scope.
std::string value_name(const Graph& graph, int value) {
  const int producer = graph.value(value).producer;
  return producer < 0 ? "images" : graph_node(graph, producer).scope;
}
std::string parameter_at(const Graph& graph, int node, size_t input) {
  return graph.value(graph_node(graph, node).inputs[input]).parameter;
}

/// Parameters that a folded batch norm makes superfluous, with the values that do nothing but add
/// `bias`.
Tensors neutral(const Graph& graph, const Int8LayerNodes& nodes, const Tensor& bias) {
  const Shape& shape = bias.shape();
  const double eps = attribute(graph_node(graph, nodes.batch_norm), "eps");
  Tensors all{{parameter_at(graph, nodes.batch_norm, 1), full(shape, std::sqrt(1 + eps))},
              {parameter_at(graph, nodes.batch_norm, 2), bias},
              {parameter_at(graph, nodes.batch_norm, 4), zeros(shape)},
              {parameter_at(graph, nodes.batch_norm, 5), ones(shape)}};
  if (graph_node(graph, nodes.product).inputs[2] >= 0)
    all[parameter_at(graph, nodes.product, 2)] = zeros(shape);
  return all;
}

Json json_of(const Graph& graph, const Quantization& q, const Int8Record& record,
             const Json& packed) {
  Json layers = Json::array(), values = Json::object();
  for (const QuantizedLayer& layer : q.layers) layers.push_back(layer.nodes.path);
  for (const auto& [value, type] : q.values)
    values[value_name(graph, value)] = {static_cast<double>(type.scale), type.range.low,
                                        type.range.high, type.range.zero_point};
  Json json{{"range", record.range},
            {"images", record.images},
            {"skip", record.skip},
            {"layers", layers},
            {"values", values}};
  if (!packed.empty()) json["packed"] = packed;  // files of eight bits are those of before
  return json;
}

/// Reads one file, part by part; what does not fit is an error that names file and part.
class Int8Reader {
 public:
  explicit Int8Reader(const std::string& path) : path_(path), file_(read_safetensors(path)) {}

  Int8Network read() {
    const Json json = record();
    Int8Network result;
    result.network = std::make_unique<Network>(Architecture::from_json(text("architecture")));
    Network& network = *result.network;
    read_preprocessing(network);
    result.record = {.range = field<std::string>(json, "range"),
                     .images = field<int64_t>(json, "images"),
                     .skip = field<std::vector<std::string>>(json, "skip")};
    // The first graph says which parameters are codes, the second has the values of all.
    const Graph empty(network);
    const Int8Layout layout = int8_layout(empty, result.record.skip);
    check_layers(layout, field<std::vector<std::string>>(json, "layers"));
    if (json.contains("packed"))
      unpack_weights(network, field<std::map<std::string, std::string>>(json, "packed"));
    for (const Int8LayerNodes& nodes : layout.layers)
      result.quantization.layers.push_back(layer(network, empty, nodes));
    network.load_state(file_.tensors, path_);
    const Graph graph(network);
    add_values(graph, layout, field<Json>(json, "values"), result.quantization);
    result.quantization.places = rounding_places(network, graph, layout);
    return result;
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
  Json record() const {
    if (text("format") != kFormat)
      fail(str("format: expected ", kFormat, ", got ", text("format")));
    Json json = Json::parse(text("int8"), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail("its int8 record cannot be read");
    return json;
  }
  template <class T>
  T field(const Json& json, const char* key) const {
    try {
      return json.at(key).get<T>();
    } catch (const Json::exception&) {
      fail(str("its int8 record has no ", key, " of the right kind"));
    }
  }
  void read_preprocessing(Network& network) const {
    const Json json = Json::parse(text("preprocessing"), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) fail("the preprocessing record cannot be read");
    network.preprocessing = {
        json.value("mean", std::vector<double>{}), json.value("std", std::vector<double>{}),
        json.value("class_names", std::vector<std::string>{}), json.value("crop_pct", 0.0),
        json.value("interpolation", std::string{})};
  }

  void check_layers(const Int8Layout& layout, const std::vector<std::string>& recorded) const {
    std::vector<std::string> own;
    for (const Int8LayerNodes& nodes : layout.layers) own.push_back(nodes.path);
    if (own == recorded) return;
    const auto [a, b] = std::ranges::mismatch(own, recorded);
    fail(str("layers on integers: expected ", a == own.end() ? "no more" : *a, ", got ",
             b == recorded.end() ? "no more" : *b, "; was it written by another version?"));
  }

  /// From then on they are as if they had a byte each.
  void unpack_weights(Network& network, const std::map<std::string, std::string>& formats) {
    const std::map<std::string, Tensor> state = network.state();
    for (const auto& [path, format] : formats) {
      const auto own = state.find(path);
      if (own == state.end()) fail(path + ": the network has no such weight");
      const Tensor bytes = take(path, DType::u8);
      try {
        file_.tensors[path] = unpack(bytes, own->second.shape(), packed_format(format));
      } catch (const CheckpointError& error) {
        fail(str(path, ": ", error.what()));
      }
    }
  }

  /// Takes a tensor out of the file.
  Tensor take(const std::string& name, DType dtype) {
    const auto found = file_.tensors.find(name);
    if (found == file_.tensors.end()) fail(name + ": is missing");
    Tensor t = found->second;
    if (t.dtype() != dtype)
      fail(str(name, ": expected ", name_of(dtype), ", got ", name_of(t.dtype())));
    file_.tensors.erase(found);
    if (dtype == DType::f32) {
      for (const double v : t.to_vector()) {
        if (!std::isfinite(v)) fail(name + ": holds a value that is not finite");
      }
    }
    return t;
  }

  QuantizedLayer layer(Network& network, const Graph& graph, const Int8LayerNodes& nodes) {
    const std::string path = weight_parameter(graph, nodes);
    const Shape &shape = network.parameter(path).value().shape(),
                &read_as = graph.value(graph_node(graph, nodes.product).inputs[1]).shape;
    const Tensor codes = take(path, DType::i8), scale = take(scale_name(path), DType::f32);
    if (codes.shape() != shape)
      fail(str(path, ": expected shape ", shape, ", got ", codes.shape()));
    if (scale.ndim() != 1 || (scale.dim(0) != 1 && scale.dim(0) != shape[0]))
      fail(str(scale_name(path), ": expected shape (1) or (", shape[0], "), got ", scale.shape()));
    Quantizer quantizer = quantizer_of(scale_name(path), scale);
    for (const double code : codes.to_vector()) {
      if (code < -127) fail(str(path, ": expected codes from -127 to 127, got ", code));
    }
    const Tensor weight = quantizer.reals(codes);
    file_.tensors[path] = weight;
    QuantizedLayer result{.nodes = nodes,
                          .weight_path = path,
                          .weight = weight.reshape(read_as),
                          .bias = bias_of(graph, nodes, path, shape[0]),
                          .quantizer = std::move(quantizer)};
    return result;
  }

  /// Eight bits; what has fewer uses fewer of their codes.
  Quantizer quantizer_of(const std::string& name, const Tensor& scale) const {
    std::vector<ValueRange> ranges;
    for (const double s : scale.to_vector()) {
      if (!std::isnormal(s) || s < 0) fail(str(name, ": expected scales above 0, got ", s));
      ranges.push_back({.low = -127 * s, .high = 127 * s});
    }
    return {ranges, CodeScheme::kSymmetric, 8};
  }

  Tensor bias_of(const Graph& graph, const Int8LayerNodes& nodes, const std::string& path,
                 int64_t outputs) {
    const auto check = [&](const std::string& name, const Tensor& bias) {
      if (bias.shape() != Shape{outputs})
        fail(str(name, ": expected shape (", outputs, "), got ", bias.shape()));
    };
    if (nodes.batch_norm >= 0) {
      Tensor bias = take(bias_name(path), DType::f32);
      check(bias_name(path), bias);
      for (const auto& [name, value] : neutral(graph, nodes, bias)) {
        if (!file_.tensors.emplace(name, value).second)
          fail(name + ": is there beside what it was folded into");
      }
      return bias;
    }
    if (graph_node(graph, nodes.product).inputs[2] < 0) return {};
    const std::string name = parameter_at(graph, nodes.product, 2);
    Tensor bias = take(name, DType::f32);
    check(name, bias);
    file_.tensors[name] = bias;
    return bias;
  }

  void add_values(const Graph& graph, const Int8Layout& layout, const Json& recorded,
                  Quantization& q) const {
    std::set<std::string> known;
    for (const ScaleGroup& group : layout.groups) {
      for (const int value : group.values) {
        const std::string name = value_name(graph, value);
        known.insert(name);
        q.values[value] = type_of(name, recorded, group.scheme);
        if (q.values[value] != q.values[group.values.front()])
          fail(str("value ", name, ": expected the codes of all that it is moved with"));
      }
    }
    for (const auto& item : recorded.items()) {
      if (!known.contains(item.key())) fail("value " + item.key() + ": the network has none");
    }
  }

  QuantizedType type_of(const std::string& name, const Json& recorded, CodeScheme scheme) const {
    const auto found = recorded.find(name);
    if (found == recorded.end()) fail("value " + name + ": has no scale");
    const bool is_whole = found->is_array() && found->size() == 4 &&
                          std::ranges::all_of(*found, [](const Json& j) { return j.is_number(); });
    if (!is_whole) fail("value " + name + ": expected scale, low, high and zero point");
    const QuantizedType type{.scale = (*found)[0].get<float>(),
                             .range = {.low = (*found)[1].get<int64_t>(),
                                       .high = (*found)[2].get<int64_t>(),
                                       .zero_point = (*found)[3].get<int64_t>()}};
    const CodeRange& r = type.range;
    // What may have a zero point may also do without, on signed codes.
    const bool is_signed = scheme == CodeScheme::kAffine && r.low < 0 && r.zero_point == 0;
    const CodeRange most = code_range(is_signed ? CodeScheme::kFull : scheme, 8);
    if (!std::isnormal(type.scale) || type.scale < 0 || r.low < most.low || r.high > most.high ||
        r.low >= r.high || r.zero_point < r.low || r.zero_point > r.high)
      fail(str("value ", name, ": expected a scale above 0 and codes in ", most.low, "..",
               most.high, ", got ", found->dump()));
    return type;
  }

  std::string path_;
  NamedTensors file_;
};

}  // namespace

void save_int8(const std::string& path, const Network& network, const Graph& graph,
               const Quantization& q, const Int8Record& record) {
  const std::unique_ptr<Network> twin = fake_quantized(network, graph, q);
  NamedTensors file{twin->state(), {}};
  Json packed = Json::object();
  for (const QuantizedLayer& layer : q.layers) {
    const std::string& weight = layer.weight_path;
    const Shape shape = file.tensors.at(weight).shape();
    const Tensor codes = layer.quantizer.codes(layer.weight).reshape(shape);
    const std::optional<PackedFormat> format = packed_format_of(codes);
    file.tensors[weight] = format ? pack(codes, *format) : codes;
    if (format) packed[weight] = name_of(*format);
    file.tensors[scale_name(weight)] = layer.quantizer.scale();
    if (layer.nodes.batch_norm < 0) continue;
    for (const auto& [name, value] : neutral(graph, layer.nodes, layer.bias))
      file.tensors.erase(name);
    file.tensors[bias_name(weight)] = layer.bias;
  }
  file.metadata["format"] = kFormat;
  file.metadata["int8"] = json_of(graph, q, record, packed).dump();
  write_network_file(path, network, std::move(file));
}

Int8Network load_int8(const std::string& path) { return Int8Reader(path).read(); }

bool is_int8_file(const std::string& path) {
  const std::map<std::string, std::string> metadata = read_safetensors_metadata(path);
  const auto format = metadata.find("format");
  return format != metadata.end() && format->second == kFormat;
}

}  // namespace vtrain
