#include "nn/layers/dropout.h"

#include "autograd/dropout.h"

namespace vtrain {

Dropout::Dropout(double rate) : rate_(rate) {
  if (!(rate >= 0 && rate < 1))
    throw ShapeError(str("[dropout] rate: expected 0 <= rate < 1, got ", rate));
}

Variable Dropout::forward(const Variable& x, const Pass& pass) {
  if (rate_ == 0 || !pass.is_training) return x;
  const Tensor noise = pass.random(path()).uniform(x.shape(), pass.position());
  return dropout(x, noise.to(x.value().device()), rate_);
}

}  // namespace vtrain
