#include "nn/layers/average_pool2d.h"

#include "autograd/pool.h"

namespace vtrain {

Variable AveragePool2d::forward(const Variable& x, const Pass&) {
  return average_pool2d(x, options_);
}

Variable AdaptiveAveragePool2d::forward(const Variable& x, const Pass&) {
  return adaptive_average_pool2d(x, size_);
}

}  // namespace vtrain
