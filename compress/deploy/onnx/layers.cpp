// Layers with weights: convolution, linear, patches.
#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

std::string conv2d(OnnxWriter& w) {
  using Ints = std::vector<int64_t>;
  return w("Conv", {w.input(0), w.weight(), w.bias()},
           {{"strides", Ints{w.integer("stride_h"), w.integer("stride_w")}},
            {"pads", Ints{w.integer("pad_top"), w.integer("pad_left"), w.integer("pad_bottom"),
                          w.integer("pad_right")}},
            {"dilations", Ints{w.integer("dilation_h"), w.integer("dilation_w")}},
            {"group", w.integer("groups")}});
}

/// Gemm is for matrices; elsewhere the weight, kept as it is trained, is transposed by a node of
/// its own, which runtimes compute once.
std::string linear(OnnxWriter& w) {
  if (w.shape(0).size() == 2) return w("Gemm", {w.input(0), w.weight(), w.bias()}, {{"transB", 1}});
  const std::string product = w("MatMul", {w.input(0), w.weight(/*is_transposed=*/true)});
  return w.has_bias() ? w("Add", {product, w.bias()}) : product;
}

/// (N, C, H, W) -> (N, H/p * W/p, C p p)
std::string patchify(OnnxWriter& w) {
  const Shape x = w.shape(0);
  const int64_t p = w.integer("patch");
  const std::string cut = w.reshaped(w.input(0), {x[0], x[1], x[2] / p, p, x[3] / p, p});
  return w.reshaped(w.transposed(cut, {0, 2, 4, 1, 3, 5}), w.result_shape());
}

const RegisteredOnnxOp registered[] = {
    {"conv2d", conv2d}, {"linear", linear}, {"patchify", patchify}};

}  // namespace
}  // namespace vtrain
