#include "compress/deploy/onnx/writer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tensor/registry.h"

namespace vtrain {
namespace {

Registry<OnnxOp>& ops() {
  static Registry<OnnxOp> registry;
  return registry;
}

int64_t count_of_batches(const Shape& shape) {
  return std::count_if(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; });
}

constexpr const char* kImages = "images";
constexpr const char* kLogits = "logits";

}  // namespace

RegisteredOnnxOp::RegisteredOnnxOp(const std::string& name, OnnxOp op, const std::string& file) {
  ops().add(name, op, file);
}

OnnxWriter::OnnxWriter(const Graph& graph, const Quantization* quantization)
    : graph_(graph), quantization_(quantization) {
  if (quantization_ == nullptr) return;
  const auto made_by = [&](int node) { return graph_.nodes()[static_cast<size_t>(node)].output; };
  for (const QuantizedLayer& layer : quantization_->layers) {
    const int product = made_by(layer.nodes.product);
    layers_[product] = &layer;
    if (layer.nodes.batch_norm >= 0) folded_[made_by(layer.nodes.batch_norm)] = product;
  }
}

OnnxFile OnnxWriter::write(const std::string& name) {
  file_.name = name;
  names_[graph_.images()] = unique(kImages);
  file_.inputs.push_back({kImages, graph_.value(graph_.images()).dtype, shape_of(graph_.images())});
  taken_.insert(kLogits);
  for (const auto& [head, value] : graph_.heads()) taken_.insert(head);

  const Graph::Node images{.op = {}, .scope = kImages, .inputs = {}, .output = graph_.images()};
  node_ = &images;
  round(graph_.images());
  for (const Graph::Node& node : graph_.nodes()) add(node);

  const auto give = [this](const std::string& output, int value) {
    if (name_of(value) != output)
      file_.nodes.push_back({"Identity", unique(output + "/Identity"), {name_of(value)}, {output}});
    file_.outputs.push_back({output, graph_.value(value).dtype, shape_of(value)});
  };
  give(kLogits, graph_.logits());
  for (const auto& [head, value] : graph_.heads()) give(head, value);
  return std::move(file_);
}

void OnnxWriter::add(const Graph::Node& node) {
  node_ = &node;
  if (const auto product = folded_.find(node.output); product != folded_.end()) {
    names_[node.output] = name_of(product->second);
    round(node.output);
    return;
  }
  const OnnxOp* const op = ops().find(node.op.name);
  // What does not depend on the images may be anything: its value is known.
  if (op == nullptr && graph_.is_constant(node.output)) return;
  if (op == nullptr) refuse("it has no form in ONNX");

  const size_t before = file_.nodes.size();
  std::string made = (*op)(*this);
  const auto is_made_last = [&] {
    return file_.nodes.size() > before &&
           std::ranges::find(file_.nodes.back().outputs, made) != file_.nodes.back().outputs.end();
  };
  if (!is_made_last()) made = (*this)("Identity", {made});

  std::string value = node.scope;
  bool is_output = false;
  const auto is = [&](const std::string& name, int index) {
    if (is_output || index != node.output) return;
    value = name;
    is_output = true;
  };
  is(kLogits, graph_.logits());
  for (const auto& [head, index] : graph_.heads()) is(head, index);
  OnnxNode& last = file_.nodes.back();
  last.name = node.scope;
  std::ranges::replace(last.outputs, made, value);
  names_[node.output] = value;
  if (!is_output)
    file_.values.push_back({value, graph_.value(node.output).dtype, shape_of(node.output)});
  round(node.output);
}

void OnnxWriter::round(int value) {
  if (quantization_ == nullptr) return;
  const auto found = quantization_->values.find(value);
  if (found == quantization_->values.end()) return;
  const CodeRange& r = found->second.range;
  const int64_t up = r.low < 0 ? 128 : 0;
  const std::string scale = constant(full({}, static_cast<double>(found->second.scale))),
                    zero = constant(full({}, static_cast<double>(r.zero_point + up), DType::u8));
  std::string codes = (*this)("QuantizeLinear", {name_of(value), scale, zero});
  if (r.low + up > 0 || r.high + up < 255) {
    const auto limit = [&](int64_t code) {
      return constant(full({}, static_cast<double>(code + up), DType::u8));
    };
    codes = (*this)("Clip", {codes, limit(r.low), limit(r.high)});
  }
  names_[value] = (*this)("DequantizeLinear", {codes, scale, zero});
}

const QuantizedLayer* OnnxWriter::layer() const {
  const auto found = layers_.find(node_->output);
  return found == layers_.end() ? nullptr : found->second;
}

std::string OnnxWriter::weight(bool is_transposed) {
  const QuantizedLayer* const own = layer();
  if (own == nullptr) return is_transposed ? transposed(input(1), {1, 0}) : input(1);
  Tensor codes = own->quantizer.codes(own->weight);
  if (is_transposed) codes = codes.transpose(0, 1).contiguous();
  const Tensor& scales = own->quantizer.scale();
  const Shape shape = scales.numel() == 1 ? Shape{} : scales.shape();
  const std::string &path = own->weight_path,
                    scale = initializer(path + "_scale", scales.reshape(shape)),
                    zero = constant(full(shape, 0, DType::i8));
  return (*this)("DequantizeLinear", {initializer(path, codes), scale, zero},
                 {{"axis", int64_t{is_transposed ? 1 : 0}}});
}

bool OnnxWriter::has_bias() const {
  const QuantizedLayer* const own = layer();
  return own == nullptr ? has(2) : own->bias.defined();
}

std::string OnnxWriter::bias() {
  const QuantizedLayer* const own = layer();
  if (own == nullptr) return input(2);
  if (!own->bias.defined()) return "";
  const double step = static_cast<double>(quantization_->values.at(own->nodes.input).scale);
  const std::vector<double> weight_scales = own->quantizer.scale().to_vector();
  std::vector<double> codes = own->bias.to_vector(), scales = codes;
  for (size_t o = 0; o < codes.size(); ++o) {
    scales[o] = static_cast<double>(
        static_cast<float>(step * weight_scales[weight_scales.size() == 1 ? 0 : o]));
    codes[o] = std::clamp(std::nearbyint(codes[o] / scales[o]), -2147483648.0, 2147483647.0);
  }
  const Shape& shape = own->bias.shape();
  const std::string& path = own->weight_path;
  return (*this)("DequantizeLinear",
                 {initializer(path + "_bias", from_values(shape, codes, DType::i32)),
                  initializer(path + "_bias_scale", from_values(shape, scales)),
                  constant(full(shape, 0, DType::i32))},
                 {{"axis", int64_t{0}}});
}

std::string OnnxWriter::initializer(const std::string& name, const Tensor& tensor) {
  std::string own = unique(name);
  file_.initializers.emplace_back(own, tensor.to(Device()).contiguous());
  return own;
}

std::vector<int64_t> OnnxWriter::integers(const std::string& name) const {
  std::vector<int64_t> values;
  for (const auto& [own, value] : node_->op.attributes) {
    if (own == str(name, '_', values.size())) values.push_back(static_cast<int64_t>(value));
  }
  return values;
}

bool OnnxWriter::has(size_t input) const {
  return input < node_->inputs.size() && node_->inputs[input] >= 0;
}

std::string OnnxWriter::input(size_t i) { return has(i) ? name_of(node_->inputs[i]) : ""; }

Shape OnnxWriter::shape(size_t input) const { return shape_of(node_->inputs[input]); }
Shape OnnxWriter::result_shape() const { return shape_of(node_->output); }
DType OnnxWriter::result_dtype() const { return graph_.value(node_->output).dtype; }

int OnnxWriter::fixed_axis(std::string_view attribute) const {
  const Shape x = shape(0);
  const int axis = checked_dim(node_->op.name.c_str(), static_cast<int>(integer(attribute)), x);
  if (x[static_cast<size_t>(axis)] < 0)
    refuse(str("axis ", axis, " of ", graph_.value(node_->inputs[0]).shape,
               " follows the batch, whose size is open"));
  return axis;
}

std::string OnnxWriter::operator()(const std::string& op, std::vector<std::string> inputs,
                                   std::map<std::string, OnnxAttribute> attributes,
                                   OnnxResults results) {
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  std::string name = unique(str(node_->scope, '/', op));
  OnnxNode made{op, name, std::move(inputs), {}, std::move(attributes)};
  for (int i = 0; i < results.count; ++i)
    made.outputs.push_back(i == results.chosen ? name : unique(name + "/unused"));
  file_.nodes.push_back(std::move(made));
  return name;
}

std::string OnnxWriter::constant(const Tensor& tensor) {
  const Tensor plain = tensor.to(Device()).contiguous();
  const std::string content =
      str(plain.text(), ' ') +
      std::string(reinterpret_cast<const char*>(plain.raw()), static_cast<size_t>(plain.bytes()));
  std::string& name = constants_[content];
  if (name.empty()) {
    name = unique("constant");
    file_.initializers.emplace_back(name, plain);
  }
  return name;
}

std::string OnnxWriter::integers(const std::vector<int64_t>& values) {
  Tensor tensor = Tensor::empty({static_cast<int64_t>(values.size())}, DType::i64);
  std::copy(values.begin(), values.end(), tensor.data<int64_t>());
  return constant(tensor);
}

std::string OnnxWriter::scalar(double value) {
  const DType own = result_dtype();
  return constant(
      full({}, value, is_floating(own) || !has(0) ? own : graph_.value(node_->inputs[0]).dtype));
}

std::string OnnxWriter::reshaped(const std::string& x, const Shape& shape) {
  if (count_of_batches(shape) > 1) return (*this)("Reshape", {x, extents(shape)});
  Shape open = shape;
  for (int64_t& extent : open) extent = std::max<int64_t>(extent, -1);
  return (*this)("Reshape", {x, integers(open)});
}

std::string OnnxWriter::transposed(const std::string& x, const std::vector<int64_t>& order) {
  return (*this)("Transpose", {x}, {{"perm", order}});
}

std::string OnnxWriter::sliced(const std::string& x, int axis, int64_t begin, int64_t end,
                               int64_t step) {
  return (*this)("Slice",
                 {x, integers({begin}), integers({end}), integers({axis}), integers({step})});
}

std::string OnnxWriter::extents(const Shape& shape) {
  if (count_of_batches(shape) == 0) return integers(shape);
  if (batch_.empty()) {
    batch_ = unique("batch");
    file_.nodes.push_back({"Shape", batch_, {kImages}, {batch_}, {{"start", 0}, {"end", 1}}});
  }
  std::vector<std::string> parts;
  for (const int64_t extent : shape) {
    if (extent >= 0) {
      parts.push_back(integers({extent}));
    } else {
      parts.push_back(extent == -1 ? batch_ : (*this)("Mul", {batch_, integers({-extent})}));
    }
  }
  return (*this)("Concat", parts, {{"axis", 0}});
}

void OnnxWriter::refuse(const std::string& why) const {
  throw Error(str(node_->scope, ": the op ", node_->op.name, " cannot be exported: ", why));
}

Shape OnnxWriter::shape_of(int value) const {
  Shape shape = graph_.value(value).shape;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (graph_.grows_with_batch(value, static_cast<int>(axis))) shape[axis] *= -1;
  }
  return shape;
}

std::string OnnxWriter::name_of(int value) {
  const auto known = names_.find(value);
  if (known != names_.end()) return known->second;
  if (!graph_.is_constant(value)) {
    refuse(str("a value ", graph_.value(value).shape,
               " that it reads differs from batch to batch and is not computed from the images"));
  }
  const std::string& path = graph_.value(value).parameter;
  std::string& name = names_[value];
  if (path.empty()) return name = constant(graph_.tensor(value));
  // A parameter that is read twice may be two values.
  if (taken_.insert(path).second)
    file_.initializers.emplace_back(path, graph_.tensor(value).contiguous());
  return name = path;
}

std::string OnnxWriter::unique(const std::string& name) {
  std::string candidate = name;
  for (int i = 1; !taken_.insert(candidate).second; ++i) candidate = str(name, '_', i);
  return candidate;
}

}  // namespace vtrain
