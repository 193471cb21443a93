#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "compress/deploy/calibrate.h"
#include "compress/deploy/onnx/file.h"
#include "nn/graph.h"

namespace vtrain {

/// How many results a node of ONNX has, and which of them is meant.
struct OnnxResults {
  int count = 1, chosen = 0;
};

/// Writes the nodes of a Graph as nodes of ONNX, one op of ours as one or several of theirs.
///
/// The last of these carries the scope of ours ("layer1.0.conv1/conv2d.0") and gives its value that
/// name; those before it have the scope in front of their own. The images are "images", the results
/// "logits" and the names of the heads; a parameter is an initializer under its path.
///
/// On integers (`quantization` of the graph's network): weights of its layers are codes with a
/// DequantizeLinear per channel, a batch norm behind a layer is folded into them, and every value
/// that is kept as codes passes QuantizeLinear and DequantizeLinear: what runtimes make integer
/// layers of. Activations are u8; codes with a sign are moved up by 128.
///
/// Shapes here have extents of -k where k times the batch stands: (-1, 3, 32, 32).
class OnnxWriter {
 public:
  explicit OnnxWriter(const Graph& graph, const Quantization* quantization = nullptr);
  /// Throws Error naming the layer and op that have no form in ONNX. To be called once.
  OnnxFile write(const std::string& name);

  // For the op at hand, in compress/deploy/onnx/*.cpp:

  const Graph::Node& node() const { return *node_; }
  double real(std::string_view attribute) const { return vtrain::attribute(*node_, attribute); }
  int64_t integer(std::string_view attribute) const { return vtrain::integer(*node_, attribute); }
  /// Attributes name_0, name_1, ...
  std::vector<int64_t> integers(const std::string& name) const;

  bool has(size_t input) const;
  /// The name of an input; "" if it is undefined.
  std::string input(size_t i);
  Shape shape(size_t input) const;
  Shape result_shape() const;
  DType result_dtype() const;
  /// `axis`, an attribute, from 0 on. Throws Error if the input's extent there follows the batch
  /// and the op would need to know it.
  int fixed_axis(std::string_view attribute) const;

  /// Weight and bias of a convolution or linear layer: inputs 1 and 2, or what they are on
  /// integers. A transposed weight is (in, out).
  std::string weight(bool is_transposed = false);
  std::string bias();
  bool has_bias() const;

  /// A node of ONNX; the name of its result.
  std::string operator()(const std::string& op, std::vector<std::string> inputs,
                         std::map<std::string, OnnxAttribute> attributes = {},
                         OnnxResults results = {});

  /// Initializers; equal ones are one.
  std::string constant(const Tensor& tensor);
  std::string integers(const std::vector<int64_t>& values);
  std::string scalar(double value);  // (), of the result's dtype, or the first input's if floating

  /// Often needed.
  std::string reshaped(const std::string& x, const Shape& shape);
  std::string transposed(const std::string& x, const std::vector<int64_t>& order);
  std::string sliced(const std::string& x, int axis, int64_t begin, int64_t end, int64_t step = 1);
  /// (rank) i64, computed from the images where an extent follows the batch.
  std::string extents(const Shape& shape);

  [[noreturn]] void refuse(const std::string& why) const;

 private:
  Shape shape_of(int value) const;
  std::string name_of(int value);
  const QuantizedLayer* layer() const;  // of the op at hand, on integers; else nullptr
  void round(int value);
  std::string initializer(const std::string& name, const Tensor& tensor);
  std::string unique(const std::string& name);
  void add(const Graph::Node& node);

  const Graph& graph_;
  const Quantization* quantization_;
  std::map<int, const QuantizedLayer*> layers_;  // by the value that their product makes
  std::map<int, int> folded_;  // by the value of a norm that was folded: the product's
  const Graph::Node* node_ = nullptr;
  OnnxFile file_;
  std::map<int, std::string> names_;              // of values that are written
  std::map<std::string, std::string> constants_;  // name by content
  std::set<std::string> taken_;                   // names of nodes and values
  std::string batch_;                             // (1) i64: how many images there are
};

/// One op's form: writes nodes and returns the name of what they make.
using OnnxOp = std::string (*)(OnnxWriter& w);

/// A namespace-scope constant of this type says how the op of that name is written.
class RegisteredOnnxOp {
 public:
  RegisteredOnnxOp(const std::string& name, OnnxOp op, const std::string& file = __builtin_FILE());
};

}  // namespace vtrain
