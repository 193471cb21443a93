// Channels by an index that is a parameter of ours, whole numbers in f32.
#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

constexpr int64_t kOnnxInt64 = 7;  // the number of its element type

std::string select_channels(OnnxWriter& w) {
  const std::string index = w("Cast", {w("Round", {w.input(1)})}, {{"to", kOnnxInt64}});
  return w("Gather", {w.input(0), index}, {{"axis", -1}});
}

const RegisteredOnnxOp registered{"select_channels", select_channels};

}  // namespace
}  // namespace vtrain
