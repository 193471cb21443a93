#include "nn/layers/group_norm.h"

#include "autograd/group_norm.h"

namespace vtrain {

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps)
    : groups_(groups),
      eps_(eps),
      weight_(add("weight", Parameter({channels}, Init::ones()))),
      bias_(add("bias", Parameter({channels}, Init::zeros()))) {}

Variable GroupNorm::forward(const Variable& x, const Pass& pass) {
  return group_norm(x, groups_, weight_.effective_full(pass), bias_.effective_full(pass), eps_);
}

}  // namespace vtrain
