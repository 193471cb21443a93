#pragma once

#include <cstdint>

#include "tensor/random.h"

namespace vtrain {

/// How a parameter starts. Values are drawn from the stream named by the parameter's path, so they
/// depend on neither the order of construction nor on other parameters.
struct Init {
  enum class Kind { kZeros, kOnes, kNormal, kUniform };
  Kind kind = Kind::kZeros;
  double scale = 0;  // standard deviation, or half width

  static Init zeros() { return {Kind::kZeros, 0}; }
  static Init ones() { return {Kind::kOnes, 0}; }
  static Init normal(double std) { return {Kind::kNormal, std}; }
  static Init uniform(double half_width) { return {Kind::kUniform, half_width}; }
};

/// Fills `value` in place.
void initialise(Tensor& value, const Init& init, const Random& stream);

}  // namespace vtrain
