#include "data/draws.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace vtrain {

int64_t Draws::integer(int64_t low, int64_t high) {
  const auto choices = static_cast<double>(high - low + 1);
  return low + std::min(static_cast<int64_t>(uniform() * choices), high - low);
}

double Draws::normal() {  // Box-Muller; the second value is not worth a state
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

}  // namespace vtrain
