#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/fake_quantize.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Which codes of `bits` bits there are and how a range of reals is laid over them.
enum class CodeScheme {
  kSymmetric,  // -(2^(b-1) - 1) .. 2^(b-1) - 1, 0 is 0: weights (no code -128, see ENGINE.md)
  kFull,       // -2^(b-1) .. 2^(b-1) - 1, 0 is 0: activations of either sign, learned weights
  kUnsigned,   // 0 .. 2^b - 1, 0 is 0: what is never negative
  kAffine      // 0 .. 2^b - 1, 0 is an even code: a range that lies askew, as GELU's
};

/// Throws RecipeError unless 2 <= bits <= 16. The zero point of kAffine depends on the range; here
/// it is 0.
CodeRange code_range(CodeScheme scheme, int64_t bits);

/// The reals that have to be represented.
struct ValueRange {
  double low = 0, high = 0;
  friend bool operator==(const ValueRange&, const ValueRange&) = default;
};

/// Codes of one tensor with one scale.
struct QuantizedType {
  float scale = 1;
  CodeRange range;
  DType dtype() const { return code_dtype(range); }
  friend bool operator==(const QuantizedType&, const QuantizedType&) = default;
};

/// What lies over a range of reals, 0 included:
///   symmetric  scale = max(|low|, |high|) / largest code        zero point 0
///   affine     scale = (high - low) / (2^b - 2), one code more than needed, so that the zero point
///              can be rounded to an even one: then adding it before or after rounding is the same
/// For a range of nothing but 0 the scale is 1. Throws Error for a range that is not finite or the
/// wrong way round.
QuantizedType quantized_type(const ValueRange& range, CodeScheme scheme, int64_t bits);

/// The one way from reals to codes and back, in training (fake-quantized values) and in what is
/// deployed (the codes): tensor/ops/fake_quantize.h.
class Quantizer {
 public:
  explicit Quantizer(const QuantizedType& type);  // for the whole tensor
  /// One scale for each slice of axis 0. Not for kAffine: throws Error.
  Quantizer(std::span<const ValueRange> ranges, CodeScheme scheme, int64_t bits);

  const Tensor& scale() const { return scale_; }  // f32 (1) or (O), on the CPU
  const CodeRange& range() const { return range_; }

  Variable operator()(const Variable& x) const;  // straight-through gradient
  Tensor operator()(const Tensor& x) const;      // f32, f64 or bf16
  Tensor codes(const Tensor& x) const;           // of f32
  Tensor reals(const Tensor& codes) const;

 private:
  Tensor scale_for(const Tensor& x) const;  // in the dtype and on the device of x

  Tensor scale_;
  CodeRange range_;
};

/// For learned scales (Esser et al., arXiv:1902.08153): where they start, 2 mean|x| / sqrt(high),
/// one for each slice of axis 0 or one for all (`scales` is 1), f32; at least 2^-24. `x` are the
/// weights, or a first batch of values.
Tensor learned_scale_start(const Tensor& x, int64_t scales, const CodeRange& range);
/// What their gradient is multiplied by, 1 / sqrt(elements * high): `elements` of one sample that
/// share a scale.
double learned_scale_factor(int64_t elements, const CodeRange& range);

}  // namespace vtrain
