#include "compress/parts/rounded_gradient.h"

#include <algorithm>
#include <cmath>

namespace vtrain {

Tensor rounded_gradient(const Tensor& dy, int64_t bits, const Random& random, RandomPosition at) {
  std::vector<double> g = dy.to_vector();
  const std::vector<double> noise = random.uniform(dy.shape(), at).to_vector();
  const double n = static_cast<double>((int64_t{1} << bits) - 1);
  const size_t length = g.size() / static_cast<size_t>(dy.dim(0));
  for (size_t first = 0; first < g.size(); first += length) {
    double most = 0;
    for (size_t i = first; i < first + length; ++i) most = std::max(most, std::abs(g[i]));
    for (size_t i = first; i < first + length && most > 0; ++i) {
      const double shifted = g[i] / (2 * most) + 0.5 + (noise[i] - 0.5) / n;
      g[i] = 2 * most * (std::nearbyint(n * std::clamp(shifted, 0.0, 1.0)) / n - 0.5);
    }
  }
  const Tensor rounded = from_values(dy.shape(), g, dy.dtype(), dy.device());
  return dy.is_channels_last() ? rounded.channels_last() : rounded;
}

}  // namespace vtrain
