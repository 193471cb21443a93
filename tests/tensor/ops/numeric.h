#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace vtrain::testing {

/// Uniform in (low, high), the same for the same name.
inline Tensor uniform(const Shape& shape, double low, double high, std::string_view name,
                      DType dtype = DType::f64) {
  std::vector<double> values =
      Random(7, "test", name).uniform(shape, {}, 0, DType::f64).to_vector();
  for (double& v : values) v = low + (high - low) * v;
  return from_values(shape, values, dtype);
}

inline double max_size(const Tensor& x) {
  double size = 0;
  for (const double v : x.to_vector()) size = std::max(size, std::abs(v));
  return size;
}

/// Largest |a - b|; not a number if any difference is.
inline double max_difference(const Tensor& a, const Tensor& b) {
  check_same_shape("max_difference", "a", a, "b", b);
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(x[i] - y[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

inline double dot(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

/// Largest difference between `gradient` and central differences of the scalar f at x (f64).
template <class F>
double gradient_error(const F& f, const Tensor& x, const Tensor& gradient, double step = 1e-5) {
  const std::vector<double> at = x.to_vector(), given = gradient.to_vector();
  double worst = 0;
  for (size_t i = 0; i < at.size(); ++i) {
    std::vector<double> up = at, down = at;
    up[i] += step;
    down[i] -= step;
    const double slope =
        (f(from_values(x.shape(), up, DType::f64)) - f(from_values(x.shape(), down, DType::f64))) /
        (2 * step);
    const double difference = std::abs(slope - given[i]);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}

/// Central differences with step 1e-5 in f64: truncation about 1e-10 and rounding about 1e-11 for
/// values of size 1.
constexpr double kDifferenceError = 1e-8;

}  // namespace vtrain::testing
