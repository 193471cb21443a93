#include "nn/layers/conv2d.h"

#include <cmath>

#include "autograd/conv2d.h"

namespace vtrain {

Conv2d::Conv2d(int64_t in, int64_t out, const Conv2dSettings& s)
    : options_{s.stride, s.padding, s.dilation, s.groups} {
  if (s.groups < 1 || in % s.groups != 0 || out % s.groups != 0) {
    throw ShapeError(str("[conv2d] groups ", s.groups, ": expected a divisor of ", in, " and ", out,
                         " channels"));
  }
  const Shape shape{out, in / s.groups, s.kernel.h, s.kernel.w};
  const Init init = Init::uniform(1 / std::sqrt(static_cast<double>(fans_of(shape).in)));
  weight_ = add("weight", Parameter(shape, init));
  if (s.has_bias) bias_ = add("bias", Parameter({out}, init));
}

std::map<std::string, double> Conv2d::structure() const {
  return {{"groups", static_cast<double>(options_.groups)}};
}

void Conv2d::set_structure(const std::map<std::string, double>& numbers) {
  for (const auto& [name, number] : numbers)
    options_.groups = whole_number(path(), name, number, {{"groups", 1}});
}

Variable Conv2d::forward(const Variable& x, const Pass& pass) {
  return conv2d(x, weight_.effective(pass),
                bias_.defined() ? bias_.effective_full(pass) : Variable(), options_);
}

}  // namespace vtrain
