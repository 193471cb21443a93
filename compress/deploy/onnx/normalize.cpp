// Normalisations. Absent weights are written as ones and zeros where ONNX asks for them.
#include "compress/deploy/onnx/writer.h"
#include "tensor/ops/batch_norm.h"

namespace vtrain {
namespace {

/// Kept as a node, not folded into the convolution before it: a runtime folds it anyway, and the
/// file keeps the parameters that were trained.
std::string batch_norm(OnnxWriter& w) {
  if (w.integer("is_training") != 0) w.refuse("it normalises with the batch's own statistics");
  const Shape channels{w.shape(0)[1]};
  const auto or_constant = [&](size_t i, double value) {
    return w.has(i) ? w.input(i) : w.constant(full(channels, value, w.result_dtype()));
  };
  std::string y = w("BatchNormalization",
                    {w.input(0), or_constant(1, 1), or_constant(2, 0), w.input(4), w.input(5)},
                    {{"epsilon", w.real("eps")}});
  if (w.has(3)) y = w("Add", {y, w.input(3)});
  switch (static_cast<BatchNormActivation>(w.integer("activation"))) {
    case BatchNormActivation::kNone:
      break;
    case BatchNormActivation::kRelu:
      return w("Relu", {y});
    case BatchNormActivation::kRelu6:
      return w("Clip", {y, w.scalar(0), w.scalar(6)});
  }
  return y;
}

std::string layer_norm(OnnxWriter& w) {
  const std::string weight =
      w.has(1) ? w.input(1) : w.constant(ones({w.shape(0).back()}, w.result_dtype()));
  return w("LayerNormalization", {w.input(0), weight, w.input(2)},
           {{"axis", -1}, {"epsilon", w.real("eps")}});
}

std::string rms_norm(OnnxWriter& w) {
  const std::string x = w.input(0);
  const std::string mean =
      w("ReduceMean", {w("Mul", {x, x})}, {{"axes", std::vector<int64_t>{-1}}, {"keepdims", 1}});
  const std::string y = w("Div", {x, w("Sqrt", {w("Add", {mean, w.scalar(w.real("eps"))})})});
  return w.has(1) ? w("Mul", {y, w.input(1)}) : y;
}

/// Channels are averaged as rows of an image. ONNX has LRN, but runtimes refuse an even size, whose
/// window lies one channel further there, and its reference evaluator computes the first channels
/// only.
std::string local_response_norm(OnnxWriter& w) {
  const int64_t size = w.integer("size");
  const std::string x = w.input(0);
  const Shape shape = w.shape(0);
  const std::string squares =
      w.reshaped(w("Mul", {x, x}), {shape[0], 1, shape[1], shape[2] * shape[3]});
  const std::string mean = w("AveragePool", {squares},
                             {{"kernel_shape", std::vector<int64_t>{size, 1}},
                              {"pads", std::vector<int64_t>{size / 2, 0, (size - 1) / 2, 0}},
                              {"count_include_pad", 1}});
  const std::string scaled = w("Mul", {w.reshaped(mean, shape), w.scalar(w.real("alpha"))});
  const std::string d = w("Add", {scaled, w.scalar(w.real("k"))});
  return w("Div", {x, w("Pow", {d, w.scalar(w.real("beta"))})});
}

const RegisteredOnnxOp registered[] = {{"batch_norm", batch_norm},
                                       {"layer_norm", layer_norm},
                                       {"rms_norm", rms_norm},
                                       {"local_response_norm", local_response_norm}};

}  // namespace
}  // namespace vtrain
