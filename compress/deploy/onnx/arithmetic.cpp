// Arithmetic, reductions and casts.
#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

/// An op that ONNX has too, with the same inputs.
template <const char* const& kName>
std::string same(OnnxWriter& w) {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < w.node().inputs.size(); ++i) inputs.push_back(w.input(i));
  return w(kName, inputs);
}

constexpr const char *kAdd = "Add", *kSub = "Sub", *kMul = "Mul", *kDiv = "Div", *kExp = "Exp",
                     *kLog = "Log", *kSqrt = "Sqrt", *kMatMul = "MatMul", *kRelu = "Relu",
                     *kSigmoid = "Sigmoid", *kTanh = "Tanh";

std::string square(OnnxWriter& w) { return w("Mul", {w.input(0), w.input(0)}); }
std::string add_scalar(OnnxWriter& w) { return w("Add", {w.input(0), w.scalar(w.real("value"))}); }
std::string multiply_scalar(OnnxWriter& w) {
  return w("Mul", {w.input(0), w.scalar(w.real("value"))});
}

/// In opset 17 ReduceSum takes its axes as an input, other reductions as an attribute.
std::string sum(OnnxWriter& w) {
  const std::vector<int64_t> axes = w.integers("axis");
  return w("ReduceSum", {w.input(0), axes.empty() ? "" : w.integers(axes)},
           {{"keepdims", w.integer("keep_dims")}});
}

/// ONNX numbers its element types; of those here it casts to floating ones only.
std::string cast(OnnxWriter& w) {
  constexpr int64_t kFloat = 1, kDouble = 11, kBfloat16 = 16;
  switch (w.result_dtype()) {
    case DType::f32:
      return w("Cast", {w.input(0)}, {{"to", kFloat}});
    case DType::f64:
      return w("Cast", {w.input(0)}, {{"to", kDouble}});
    case DType::bf16:
      return w("Cast", {w.input(0)}, {{"to", kBfloat16}});
    default:
      w.refuse(str("a cast to ", name_of(w.result_dtype())));
  }
}

const RegisteredOnnxOp registered[] = {{"add", same<kAdd>},
                                       {"subtract", same<kSub>},
                                       {"multiply", same<kMul>},
                                       {"divide", same<kDiv>},
                                       {"add_scalar", add_scalar},
                                       {"multiply_scalar", multiply_scalar},
                                       {"exp", same<kExp>},
                                       {"log", same<kLog>},
                                       {"sqrt", same<kSqrt>},
                                       {"square", square},
                                       {"sum", sum},
                                       {"matmul", same<kMatMul>},
                                       {"relu", same<kRelu>},
                                       {"sigmoid", same<kSigmoid>},
                                       {"tanh", same<kTanh>},
                                       {"cast", cast}};

}  // namespace
}  // namespace vtrain
