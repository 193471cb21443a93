#include "nn/layers/global_average_pool.h"

#include "autograd/arithmetic.h"
#include "autograd/shape.h"

namespace vtrain {

Variable GlobalAveragePool::forward(const Variable& x, const Pass&) {
  // (N, H, W, C), as a channels-last image lies in memory, so that the mean runs over rows.
  const Variable positions = transpose(transpose(x, 1, 2), 2, 3);
  const Variable rows = reshape(positions, {x.dim(0), x.dim(2) * x.dim(3), x.dim(1)});
  return cast(mean(rows, {1}), x.value().dtype());
}

}  // namespace vtrain
