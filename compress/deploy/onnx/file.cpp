#include "compress/deploy/onnx/file.h"

#include <onnx/checker.h>
#include <onnx/onnx_pb.h>
#include <onnx/shape_inference/implementation.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <utility>

namespace vtrain {
namespace {

constexpr int64_t kIrVersion = 8;  // the one that came with opset 17
constexpr int64_t kOpset = 17;
constexpr const char* kBatch = "N";

constexpr std::pair<DType, int32_t> kTypes[] = {
    {DType::f32, onnx::TensorProto::FLOAT},     {DType::f64, onnx::TensorProto::DOUBLE},
    {DType::bf16, onnx::TensorProto::BFLOAT16}, {DType::i8, onnx::TensorProto::INT8},
    {DType::u8, onnx::TensorProto::UINT8},      {DType::i32, onnx::TensorProto::INT32},
    {DType::i64, onnx::TensorProto::INT64},     {DType::boolean, onnx::TensorProto::BOOL}};

int32_t type_of(DType dtype) {
  for (const auto& [ours, theirs] : kTypes) {
    if (ours == dtype) return theirs;
  }
  throw Error(str("onnx: dtype ", name_of(dtype), " is not written"));
}

DType dtype_of(int32_t type, const std::string& name) {
  for (const auto& [ours, theirs] : kTypes) {
    if (theirs == type) return ours;
  }
  throw Error(str("value ", name, " has element type ", type, ", which is not read"),
              ExitCode::kVerification);
}

/// "N", "64*N".
std::string extent_text(int64_t times) { return times == 1 ? kBatch : str(times, '*', kBatch); }

int64_t times_of(const std::string& text, const std::string& name) {
  if (text == kBatch) return 1;
  const size_t digits = text.find_first_not_of("0123456789");
  if (digits > 0 && digits < 10 && text.substr(digits) == std::string("*") + kBatch)
    return std::stoll(text.substr(0, digits));
  throw Error(str("value ", name, " has an extent ", text, ": expected N or a multiple of it"),
              ExitCode::kVerification);
}

void put(const OnnxValue& value, onnx::ValueInfoProto& proto) {
  proto.set_name(value.name);
  onnx::TypeProto::Tensor& type = *proto.mutable_type()->mutable_tensor_type();
  type.set_elem_type(type_of(value.dtype));
  onnx::TensorShapeProto& shape = *type.mutable_shape();
  for (const int64_t extent : value.shape) {
    if (extent < 0) {
      shape.add_dim()->set_dim_param(extent_text(-extent));
    } else {
      shape.add_dim()->set_dim_value(extent);
    }
  }
}

OnnxValue value_of(const onnx::ValueInfoProto& proto) {
  const onnx::TypeProto::Tensor& type = proto.type().tensor_type();
  OnnxValue value{proto.name(), dtype_of(type.elem_type(), proto.name()), {}};
  for (const onnx::TensorShapeProto::Dimension& dim : type.shape().dim()) {
    value.shape.push_back(dim.has_dim_value() ? dim.dim_value()
                                              : -times_of(dim.dim_param(), proto.name()));
  }
  return value;
}

void put(const std::string& name, const Tensor& tensor, onnx::TensorProto& proto) {
  proto.set_name(name);
  proto.set_data_type(type_of(tensor.dtype()));
  for (const int64_t extent : tensor.shape()) proto.add_dims(extent);
  const Tensor plain = tensor.to(Device()).contiguous();
  proto.set_raw_data(plain.raw(), static_cast<size_t>(plain.bytes()));
}

Tensor tensor_of(const onnx::TensorProto& proto) {
  Tensor tensor = Tensor::empty(Shape(proto.dims().begin(), proto.dims().end()),
                                dtype_of(proto.data_type(), proto.name()));
  if (static_cast<int64_t>(proto.raw_data().size()) != tensor.bytes()) {
    throw Error(str("initializer ", proto.name(), ": expected ", tensor.bytes(), " bytes, got ",
                    proto.raw_data().size()),
                ExitCode::kVerification);
  }
  std::memcpy(tensor.raw(), proto.raw_data().data(), proto.raw_data().size());
  return tensor;
}

void put(const std::string& name, const OnnxAttribute& attribute, onnx::AttributeProto& proto) {
  proto.set_name(name);
  if (const auto* const number = std::get_if<int64_t>(&attribute)) {
    proto.set_type(onnx::AttributeProto::INT);
    proto.set_i(*number);
  } else if (const auto* const real = std::get_if<double>(&attribute)) {
    proto.set_type(onnx::AttributeProto::FLOAT);
    proto.set_f(static_cast<float>(*real));
  } else if (const auto* const text = std::get_if<std::string>(&attribute)) {
    proto.set_type(onnx::AttributeProto::STRING);
    proto.set_s(*text);
  } else {
    proto.set_type(onnx::AttributeProto::INTS);
    for (const int64_t value : std::get<std::vector<int64_t>>(attribute)) proto.add_ints(value);
  }
}

OnnxAttribute attribute_of(const onnx::AttributeProto& proto, const std::string& node) {
  switch (proto.type()) {
    case onnx::AttributeProto::INT:
      return proto.i();
    case onnx::AttributeProto::FLOAT:
      return static_cast<double>(proto.f());
    case onnx::AttributeProto::STRING:
      return proto.s();
    case onnx::AttributeProto::INTS:
      return std::vector<int64_t>(proto.ints().begin(), proto.ints().end());
    default:
      throw Error(
          str("node ", node, ": attribute ", proto.name(), " is of a type that is not read"),
          ExitCode::kVerification);
  }
}

onnx::ModelProto model_of(const OnnxFile& file) {
  onnx::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("vtrain");
  model.set_producer_version(VTRAIN_VERSION);
  model.add_opset_import()->set_version(kOpset);
  for (const auto& [key, value] : file.metadata) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name(file.name);
  for (const OnnxNode& node : file.nodes) {
    onnx::NodeProto& proto = *graph.add_node();
    proto.set_op_type(node.op);
    proto.set_name(node.name);
    for (const std::string& input : node.inputs) proto.add_input(input);
    for (const std::string& output : node.outputs) proto.add_output(output);
    for (const auto& [name, attribute] : node.attributes)
      put(name, attribute, *proto.add_attribute());
  }
  for (const auto& [name, tensor] : file.initializers) put(name, tensor, *graph.add_initializer());
  for (const OnnxValue& value : file.inputs) put(value, *graph.add_input());
  for (const OnnxValue& value : file.outputs) put(value, *graph.add_output());
  for (const OnnxValue& value : file.values) put(value, *graph.add_value_info());
  return model;
}

onnx::ModelProto model_at(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  onnx::ModelProto model;
  if (!in || !model.ParseFromIstream(&in) || !model.has_graph())
    throw Error(str(path, ": is no ONNX model that can be read"), ExitCode::kVerification);
  return model;
}

OnnxFile file_of(const onnx::ModelProto& model) {
  if (model.opset_import_size() != 1 || model.opset_import(0).version() != kOpset)
    throw Error(str("expected opset ", kOpset, " and no other"), ExitCode::kVerification);
  const onnx::GraphProto& graph = model.graph();
  OnnxFile file;
  file.name = graph.name();
  for (const auto& entry : model.metadata_props()) file.metadata[entry.key()] = entry.value();
  for (const onnx::NodeProto& proto : graph.node()) {
    OnnxNode node{proto.op_type(),
                  proto.name(),
                  {proto.input().begin(), proto.input().end()},
                  {proto.output().begin(), proto.output().end()}};
    for (const onnx::AttributeProto& attribute : proto.attribute())
      node.attributes[attribute.name()] = attribute_of(attribute, node.name);
    file.nodes.push_back(std::move(node));
  }
  for (const auto& proto : graph.initializer())
    file.initializers.emplace_back(proto.name(), tensor_of(proto));
  for (const auto& proto : graph.input()) file.inputs.push_back(value_of(proto));
  for (const auto& proto : graph.output()) file.outputs.push_back(value_of(proto));
  for (const auto& proto : graph.value_info()) file.values.push_back(value_of(proto));
  return file;
}

}  // namespace

std::string onnx_bytes(const OnnxFile& file) {
  const onnx::ModelProto model = model_of(file);
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(str("onnx: ", file.name, " takes ", model.ByteSizeLong(),
                    " bytes: expected less than 2 GiB, all that one file can hold"));
  }
  return model.SerializeAsString();
}

OnnxFile read_onnx(const std::string& path) {
  const onnx::ModelProto model = model_at(path);
  try {
    return file_of(model);
  } catch (const Error& error) {
    throw Error(str(path, ": ", error.what()), error.code());
  }
}

std::string onnx_fault(const std::string& path) {
  onnx::ModelProto model = model_at(path);
  try {
    onnx::checker::check_model(model);
    onnx::shape_inference::InferShapes(model, onnx::OpSchemaRegistry::Instance(),
                                       onnx::ShapeInferenceOptions(/*check_type_val=*/true,
                                                                   /*strict_mode_val=*/1));
  } catch (const std::exception& fault) {
    return fault.what();
  }
  return {};
}

}  // namespace vtrain
