#include "nn/layers/layer_norm.h"

#include "autograd/normalize.h"

namespace vtrain {

LayerNorm::LayerNorm(int64_t dim, double eps)
    : eps_(eps),
      weight_(add("weight", Parameter({dim}, Init::ones()))),
      bias_(add("bias", Parameter({dim}, Init::zeros()))) {}

Variable LayerNorm::forward(const Variable& x, const Pass& pass) {
  return layer_norm(x, weight_.effective_full(pass), bias_.effective_full(pass), eps_);
}

}  // namespace vtrain
