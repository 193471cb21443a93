#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace vtrain {

/// An ONNX model as plain data (https://onnx.ai, opset 17), so that one file sees the library that
/// reads and writes it.

/// In the words of the standard: an int, a float (written as f32), ints, a string.
using OnnxAttribute = std::variant<int64_t, double, std::vector<int64_t>, std::string>;

struct OnnxNode {
  std::string op, name;
  std::vector<std::string> inputs, outputs;  // names of values; "": an input that is left out
  std::map<std::string, OnnxAttribute> attributes = {};
  friend bool operator==(const OnnxNode&, const OnnxNode&) = default;
};

/// A value with its type. An extent of -k means k times the batch, whose size is open.
struct OnnxValue {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  friend bool operator==(const OnnxValue&, const OnnxValue&) = default;
};

struct OnnxFile {
  std::string name;
  std::vector<OnnxNode> nodes;  // a node stands behind those it reads
  std::vector<std::pair<std::string, Tensor>> initializers;
  std::vector<OnnxValue> inputs, outputs;
  std::vector<OnnxValue> values;  // in between; need not be complete
  std::map<std::string, std::string> metadata;
};

/// The bytes of the file. Throws Error for a dtype that ONNX or this project does not write, and
/// for more than the 2 GiB that the format can hold.
std::string onnx_bytes(const OnnxFile& file);

/// Reads what onnx_bytes can write. Throws Error (kVerification) naming `path` for anything else.
OnnxFile read_onnx(const std::string& path);

/// What the standard's own checker and its inference of types and shapes find wrong with the file
/// at `path`: "" if nothing.
std::string onnx_fault(const std::string& path);

}  // namespace vtrain
