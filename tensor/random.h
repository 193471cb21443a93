#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace vtrain {

/// Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC
/// 2011. A pure function of (counter, key).
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// (0, 1): ((bits >> 9) + 0.5) * 2^-23, both ends representable in f32, so its logarithm is finite.
double uniform_from_bits(uint32_t bits);

/// Where in a run a draw happens. Values depend on this, on the stream and on the element, never on
/// call order, threads or workers.
struct RandomPosition {
  int64_t step = 0;          // optimizer step of the phase, or epoch
  int64_t first_sample = 0;  // global index in the step of the first row
};

/// A named stream: key = hash of (seed, phase, name), counter = (element, sample, step, lane).
/// Nothing has to be saved.
class Random {
 public:
  Random(uint64_t seed, std::string_view phase, std::string_view name);

  /// Tensors whose first axis counts samples: row n is that of global sample first_sample + n.
  /// Drawn on the host, so that every device sees the same numbers.
  Tensor uniform(const Shape& shape, RandomPosition at, int lane = 0, DType dtype = DType::f32,
                 Device device = {}) const;  // (0, 1)
  Tensor normal(const Shape& shape, RandomPosition at, int lane = 0, DType dtype = DType::f32,
                Device device = {}) const;  // mean 0, std 1
  Tensor logistic(const Shape& shape, RandomPosition at, int lane = 0, DType dtype = DType::f32,
                  Device device = {}) const;  // log u - log(1 - u)

  /// One number of the stream.
  uint32_t bits(int64_t step, int64_t sample, int64_t element, int lane = 0) const;
  double uniform(int64_t step, int64_t sample, int64_t element, int lane = 0) const;

  /// An order of 0..n-1, the same for the same (stream, step): Fisher-Yates.
  std::vector<int64_t> permutation(int64_t n, int64_t step) const;

 private:
  std::array<uint32_t, 2> key_;
};

}  // namespace vtrain
