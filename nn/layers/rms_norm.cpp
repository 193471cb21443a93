#include "nn/layers/rms_norm.h"

#include "autograd/rms_norm.h"

namespace vtrain {

RmsNorm::RmsNorm(int64_t dim, double eps)
    : eps_(eps), weight_(add("weight", Parameter({dim}, Init::ones()))) {}

Variable RmsNorm::forward(const Variable& x, const Pass& pass) {
  return rms_norm(x, weight_.effective_full(pass), eps_);
}

}  // namespace vtrain
