// Non-linearities: tensor/ops/activation_kind.h has their formulas.
#include <cmath>
#include <numbers>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

std::string relu6(OnnxWriter& w) { return w("Clip", {w.input(0), w.scalar(0), w.scalar(6)}); }

std::string leaky_relu(OnnxWriter& w) {
  return w("LeakyRelu", {w.input(0)}, {{"alpha", w.real("slope")}});
}

std::string silu(OnnxWriter& w) {
  const std::string x = w.input(0);
  return w("Mul", {x, w("Sigmoid", {x})});
}

std::string hard_sigmoid(OnnxWriter& w) {
  return w("HardSigmoid", {w.input(0)}, {{"alpha", 1.0 / 6}, {"beta", 0.5}});
}
std::string hard_swish(OnnxWriter& w) { return w("HardSwish", {w.input(0)}); }

/// Opset 17 has no Gelu. Runtimes know this very sequence and fuse it.
std::string gelu(OnnxWriter& w) {
  const std::string x = w.input(0);
  const std::string erf = w("Erf", {w("Div", {x, w.scalar(std::numbers::sqrt2)})});
  return w("Mul", {w("Mul", {x, w("Add", {erf, w.scalar(1)})}), w.scalar(0.5)});
}

std::string gelu_tanh(OnnxWriter& w) {
  const std::string x = w.input(0);
  const std::string cube = w("Mul", {w("Mul", {x, x}), x});
  const std::string inner = w("Add", {x, w("Mul", {cube, w.scalar(0.044715)})});
  const std::string tanh =
      w("Tanh", {w("Mul", {inner, w.scalar(std::sqrt(2 * std::numbers::inv_pi))})});
  return w("Mul", {w("Mul", {x, w("Add", {tanh, w.scalar(1)})}), w.scalar(0.5)});
}

std::string softmax(OnnxWriter& w) {
  return w("Softmax", {w.input(0)}, {{"axis", w.integer("dim")}});
}
std::string log_softmax(OnnxWriter& w) {
  return w("LogSoftmax", {w.input(0)}, {{"axis", w.integer("dim")}});
}

const RegisteredOnnxOp registered[] = {{"relu6", relu6},
                                       {"leaky_relu", leaky_relu},
                                       {"silu", silu},
                                       {"hard_sigmoid", hard_sigmoid},
                                       {"hard_swish", hard_swish},
                                       {"gelu", gelu},
                                       {"gelu_tanh", gelu_tanh},
                                       {"softmax", softmax},
                                       {"log_softmax", log_softmax}};

}  // namespace
}  // namespace vtrain
