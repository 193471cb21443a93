#include "compress/parts/fake_quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vtrain {

CodeRange code_range(CodeScheme scheme, int64_t bits) {
  if (bits < 2 || bits > 16) throw RecipeError(str("bits: expected 2 to 16, got ", bits));
  const int64_t half = int64_t{1} << (bits - 1);
  switch (scheme) {
    case CodeScheme::kSymmetric:
      return {.low = 1 - half, .high = half - 1};
    case CodeScheme::kFull:
      return {.low = -half, .high = half - 1};
    case CodeScheme::kUnsigned:
    case CodeScheme::kAffine:
      return {.low = 0, .high = 2 * half - 1};
  }
  throw Error("code_range: there are four schemes");
}

QuantizedType quantized_type(const ValueRange& range, CodeScheme scheme, int64_t bits) {
  QuantizedType type{.scale = 1, .range = code_range(scheme, bits)};
  const double low = std::min(range.low, 0.0), high = std::max(range.high, 0.0);
  if (!(range.low <= range.high) || !std::isfinite(high - low))
    throw Error(
        str("quantization: expected a finite range of values, got ", range.low, "..", range.high));
  const auto top = static_cast<double>(type.range.high);
  const double scale =
      scheme == CodeScheme::kAffine ? (high - low) / (top - 1) : std::max(-low, high) / top;
  // Below the smallest normal number the reciprocal overflows: such a range is nothing but 0.
  if (scale < static_cast<double>(std::numeric_limits<float>::min())) return type;
  type.scale = static_cast<float>(scale);
  if (scheme == CodeScheme::kAffine) {
    const double zero_point = 2 * std::nearbyint(-low / scale / 2);
    type.range.zero_point = static_cast<int64_t>(std::clamp(zero_point, 0.0, top - 1));
  }
  return type;
}

Quantizer::Quantizer(const QuantizedType& type)
    : scale_(full({1}, static_cast<double>(type.scale))), range_(type.range) {}

Quantizer::Quantizer(std::span<const ValueRange> ranges, CodeScheme scheme, int64_t bits)
    : range_(code_range(scheme, bits)) {
  if (scheme == CodeScheme::kAffine)
    throw Error(
        "quantization: expected a symmetric scheme for scales per channel, got an affine one");
  std::vector<double> scales;
  for (const ValueRange& range : ranges)
    scales.push_back(static_cast<double>(quantized_type(range, scheme, bits).scale));
  scale_ = from_values({static_cast<int64_t>(scales.size())}, scales);
}

Tensor Quantizer::scale_for(const Tensor& x) const {
  return scale_.to(wide_of(x.dtype())).to(x.device());
}

Variable Quantizer::operator()(const Variable& x) const {
  return fake_quantize(x, scale_for(x.value()), range_);
}
Tensor Quantizer::operator()(const Tensor& x) const {
  return fake_quantize(x, scale_for(x), range_);
}
Tensor Quantizer::codes(const Tensor& x) const { return quantize(x, scale_for(x), range_); }
Tensor Quantizer::reals(const Tensor& codes) const {
  return dequantize(codes, scale_.to(codes.device()), range_);
}

Tensor learned_scale_start(const Tensor& x, int64_t scales, const CodeRange& range) {
  if (x.numel() == 0 || (scales != 1 && scales != x.dim(0)))
    throw ShapeError(
        str("[learned_scale_start] scales: expected 1 or one for each slice of axis 0 ", "of x ",
            x.shape(), ", got ", scales));
  const std::vector<double> values = x.to_vector();
  const size_t length = values.size() / static_cast<size_t>(scales);
  std::vector<double> start;
  for (size_t first = 0; first < values.size(); first += length) {
    double sum = 0;
    for (size_t i = first; i < first + length; ++i) sum += std::abs(values[i]);
    const double mean = sum / static_cast<double>(length);
    start.push_back(
        std::max(2 * mean / std::sqrt(static_cast<double>(range.high)), std::ldexp(1.0, -24)));
  }
  return from_values({scales}, start, DType::f32, x.device());
}

double learned_scale_factor(int64_t elements, const CodeRange& range) {
  return 1 / std::sqrt(static_cast<double>(elements) * static_cast<double>(range.high));
}

}  // namespace vtrain
