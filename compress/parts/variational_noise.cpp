#include "compress/parts/variational_noise.h"

#include <limits>

#include "autograd/arithmetic.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

Variable clipped(const Variable& x, double low, double high) {
  return Variable::from({.name = "clip"}, clamp(x.value(), low, high), {x},
                        [x = x.value(), low, high](const Tensor& dy) {
                          return Grads{where_inside(x, low, high, dy)};
                        });
}

}  // namespace

Variable log_alpha(const Variable& theta, const Variable& log_sigma2) {
  return log_sigma2 - log(square(theta) + 1e-8);
}

Variable variational_kl(const Variable& log_alpha, double clip) {
  constexpr double k1 = 0.63576, k2 = 1.87320, k3 = 1.48695;
  const Variable a = clipped(log_alpha, -clip, clip);
  // log(1 + exp(-a)) = -log S(a)
  return sum(-(k1 * sigmoid(k3 * a + k2)) - 0.5 * log(sigmoid(a)) + k1);
}

Variable with_noise(const Variable& mean, const Variable& variance, const Tensor& noise,
                    double floor) {
  const Tensor deviation = sqrt(add(variance.value(), floor));
  return Variable::from({.name = "with_noise"}, add(mean.value(), multiply(deviation, noise)),
                        {mean, variance}, [deviation, noise](const Tensor& dy) {
                          // dy noise / (2 deviation); the bound is below any deviation that f32
                          // tells from 0 beside weights, and keeps what is multiplied by a variance
                          // of 0 later from being infinite.
                          const Tensor divisor =
                              clamp(deviation, 1e-15, std::numeric_limits<double>::max());
                          return Grads{dy, divide(multiply(multiply(dy, noise), 0.5), divisor)};
                        });
}

}  // namespace vtrain
