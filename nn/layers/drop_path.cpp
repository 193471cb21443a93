#include "nn/layers/drop_path.h"

#include "autograd/arithmetic.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/unary.h"

namespace vtrain {

Variable DropPath::forward(const Variable& x, const Pass& pass) {
  if (rate_ == 0 || !pass.is_training) return x;
  Shape per_sample(x.shape().size(), 1);
  per_sample[0] = x.dim(0);
  const DType dtype = x.value().dtype();
  // Drawn wide, so that bf16 drops the same samples; the factor is then rounded to x's dtype, which
  // keeps the product in it.
  const Tensor noise = pass.random(path()).uniform(per_sample, pass.position(), 0, wide_of(dtype),
                                                   x.value().device());
  return x * Variable(multiply(at_least(noise, rate_), 1 / (1 - rate_)).to(dtype));
}

}  // namespace vtrain
