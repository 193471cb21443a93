#pragma once
// Between reals and codes inside the steps of a plan.

#include <atomic>
#include <cstdint>
#include <string>

#include "compress/parts/fake_quantize.h"
#include "tensor/ops/fake_quantize_simd.h"

namespace vtrain {

/// Rounds to codes as Quantizer does. What is not a number has no code: `check` refuses it once a
/// pass is over, since threads must not throw.
class CodeWriter {
 public:
  explicit CodeWriter(const QuantizedType& type);

  /// Codes of n floats; `q` holds i8 or u8, as the type says.
  void write(const float* x, int64_t n, uint8_t* q);
  /// Throws Error naming `layers` if something that was written was not a number.
  void check(const std::string& layers);

 private:
  QuantizeStep step_;
  std::atomic<bool> are_numbers_ = true;
};

/// y = scale * (code - zero_point), as `dequantize`.
template <class T>
void write_reals(const T* codes, const QuantizedType& type, int64_t n, float* y) {
  const auto zero = static_cast<float>(type.range.zero_point);
  for (int64_t i = 0; i < n; ++i) y[i] = (static_cast<float>(codes[i]) - zero) * type.scale;
}

}  // namespace vtrain
