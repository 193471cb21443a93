// fake_quantize: y = scale * (q - zero_point), q = clamp(rne(x / scale) + zero_point, low, high).
//   inputs      x; scale, (1) for all of x or (O), one for each slice of axis 0
//   attributes  zero_point, low, high; axis, 0 or, for one scale, -1
// Codes that fit a byte become QuantizeLinear and DequantizeLinear, what runtimes make integer
// layers of. They divide by the scale where we multiply by its reciprocal: next to a tie a code may
// differ by one.
#include <limits>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

struct CodeLimits {
  DType dtype;
  int64_t low, high;
};
constexpr CodeLimits kBytes[] = {{DType::u8, 0, 255}, {DType::i8, -128, 127}};

/// nullptr if no byte holds the codes.
const CodeLimits* byte_for(int64_t low, int64_t high) {
  for (const CodeLimits& byte : kBytes) {
    if (low >= byte.low && high <= byte.high) return &byte;
  }
  return nullptr;
}

/// The scale along axis 0, beside x.
Shape slices(const OnnxWriter& w) {
  Shape shape(w.shape(0).size(), 1);
  shape[0] = w.shape(1)[0];
  return shape;
}

/// Codes that need more bits stay floating.
std::string in_floats(OnnxWriter& w, const std::string& scale) {
  const double zero = w.real("zero_point");
  const std::string rounded = w("Round", {w("Div", {w.input(0), scale})});
  const std::string kept =
      w("Clip", {rounded, w.scalar(w.real("low") - zero), w.scalar(w.real("high") - zero)});
  return w("Mul", {kept, scale});
}

std::string fake_quantize(OnnxWriter& w) {
  const int64_t low = w.integer("low"), high = w.integer("high"), axis = w.integer("axis");
  const bool has_one_scale = axis < 0;
  if (axis > 0) w.refuse(str("scales along axis ", axis, ", expected 0 or one for all"));
  const CodeLimits* const byte = byte_for(low, high);
  if (byte == nullptr)
    return in_floats(w, has_one_scale ? w.input(1) : w.reshaped(w.input(1), slices(w)));
  const Shape shape = has_one_scale ? Shape{} : w.shape(1);
  const std::string scale = has_one_scale ? w.reshaped(w.input(1), shape) : w.input(1),
                    zero = w.constant(full(shape, w.real("zero_point"), byte->dtype));
  const std::map<std::string, OnnxAttribute> along{{"axis", int64_t{0}}};
  std::string codes = w("QuantizeLinear", {w.input(0), scale, zero}, along);
  if (low > byte->low || high < byte->high) {
    const auto limit = [&](int64_t code) {
      return w.constant(full({}, static_cast<double>(code), byte->dtype));
    };
    codes = w("Clip", {codes, limit(low), limit(high)});
  }
  return w("DequantizeLinear", {codes, scale, zero}, along);
}

const RegisteredOnnxOp registered{"fake_quantize", fake_quantize};

}  // namespace
}  // namespace vtrain
