#include "compress/parts/fold_batch_norm.h"

#include <cmath>
#include <vector>

namespace vtrain {

FoldedLayer fold_batch_norm(const Tensor& weight, const Tensor& bias,
                            const BatchNormConstants& bn) {
  const int64_t channels = weight.dim(0);
  if (bn.weight.shape() != Shape{channels})
    throw ShapeError(str("[fold_batch_norm] ", bn.weight.shape(), " channels: expected those of ",
                         "weight ", weight.shape()));
  std::vector<double> w = weight.to_vector(), b(static_cast<size_t>(channels), 0);
  if (bias.defined()) b = bias.to_vector();
  const std::vector<double> gamma = bn.weight.to_vector(), beta = bn.bias.to_vector(),
                            mean = bn.mean.to_vector(), var = bn.var.to_vector();
  const size_t taps = w.size() / b.size();
  for (size_t o = 0; o < b.size(); ++o) {
    const double a = gamma[o] / std::sqrt(var[o] + bn.eps);
    for (size_t k = 0; k < taps; ++k) w[o * taps + k] *= a;
    b[o] = (b[o] - mean[o]) * a + beta[o];
  }
  return {from_values(weight.shape(), w, weight.dtype()),
          from_values({channels}, b, weight.dtype())};
}

}  // namespace vtrain
