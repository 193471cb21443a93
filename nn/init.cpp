#include "nn/init.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

/// Element i is that of the first lane that lies inside. The chance to be outside is below 1/20
/// even for std 1, so few lanes are drawn.
Tensor truncated_normal(const Shape& shape, double std, const Random& stream, DType dtype) {
  constexpr double kBound = 2;
  std::vector<double> values(static_cast<size_t>(numel_of(shape)), kBound + 1);
  bool is_done = false;
  for (int lane = 0; !is_done; ++lane) {
    const std::vector<double> drawn = stream.normal(shape, {}, lane, dtype).to_vector();
    is_done = true;
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::abs(values[i]) > kBound) values[i] = std * drawn[i];
      is_done = is_done && std::abs(values[i]) <= kBound;
    }
  }
  return from_values(shape, values, dtype);
}

}  // namespace

Fans fans_of(const Shape& weight) {
  if (weight.size() < 2)
    throw ShapeError(str("[fans] weight ", weight, ": expected (out, in, ...)"));
  const int64_t out = weight[0], per_out = numel_of(weight) / std::max<int64_t>(out, 1);
  return {per_out, out * (per_out / std::max<int64_t>(weight[1], 1))};
}

Init Init::he_normal(int64_t fan) { return normal(std::sqrt(2 / static_cast<double>(fan))); }
Init Init::he_uniform(int64_t fan) { return uniform(std::sqrt(6 / static_cast<double>(fan))); }
Init Init::xavier_uniform(const Fans& fans) {
  return uniform(std::sqrt(6 / static_cast<double>(fans.in + fans.out)));
}

void initialise(Tensor& value, const Init& init, const Random& stream) {
  const Shape flat{1, value.numel()};
  switch (init.kind) {
    case Init::Kind::kZeros:
      return value.fill(0);
    case Init::Kind::kOnes:
      return value.fill(1);
    case Init::Kind::kNormal:
      return value.copy_from(
          multiply(stream.normal(flat, {}, 0, value.dtype()), init.scale).reshape(value.shape()));
    case Init::Kind::kUniform: {
      const Tensor u = add(stream.uniform(flat, {}, 0, value.dtype()), -0.5);
      return value.copy_from(multiply(u, 2 * init.scale).reshape(value.shape()));
    }
    case Init::Kind::kTruncatedNormal:
      return value.copy_from(
          truncated_normal(flat, init.scale, stream, value.dtype()).reshape(value.shape()));
  }
}

}  // namespace vtrain
