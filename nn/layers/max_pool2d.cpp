#include "nn/layers/max_pool2d.h"

#include "autograd/pool.h"

namespace vtrain {

Variable MaxPool2d::forward(const Variable& x, const Pass&) { return max_pool2d(x, options_); }

Variable AdaptiveMaxPool2d::forward(const Variable& x, const Pass&) {
  return adaptive_max_pool2d(x, size_);
}

}  // namespace vtrain
