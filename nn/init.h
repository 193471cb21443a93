#pragma once

#include <cstdint>

#include "tensor/random.h"

namespace vtrain {

/// Inputs and outputs of one unit of a weight (out, in, ...): in / groups channels times the
/// kernel's area, and all out channels times it. As PyTorch counts, `out` is not divided by groups.
struct Fans {
  int64_t in = 0, out = 0;
};
Fans fans_of(const Shape& weight);

/// How a parameter starts. Values are drawn from the stream named by the parameter's path, so they
/// depend on neither the order of construction nor on other parameters.
struct Init {
  enum class Kind { kZeros, kOnes, kNormal, kUniform, kTruncatedNormal };
  Kind kind = Kind::kZeros;
  double scale = 0;  // standard deviation, or half width

  static Init zeros() { return {Kind::kZeros, 0}; }
  static Init ones() { return {Kind::kOnes, 0}; }
  static Init normal(double std) { return {Kind::kNormal, std}; }
  static Init uniform(double half_width) { return {Kind::kUniform, half_width}; }
  /// Normal, drawn again outside [-2, 2] (absolute, not in units of std), as timm's trunc_normal_.
  static Init truncated_normal(double std) { return {Kind::kTruncatedNormal, std}; }

  /// He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852: variance
  /// 2 / fan.
  static Init he_normal(int64_t fan);
  static Init he_uniform(int64_t fan);
  /// Glorot, Bengio, AISTATS 2010: variance 2 / (fan in + fan out).
  static Init xavier_uniform(const Fans& fans);
};

/// Fills `value` in place.
void initialise(Tensor& value, const Init& init, const Random& stream);

}  // namespace vtrain
