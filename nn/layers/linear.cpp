#include "nn/layers/linear.h"

#include "autograd/linear.h"

namespace vtrain {

Linear::Linear(int64_t in, int64_t out)
    : weight_(add("weight", Parameter({out, in}, Init::normal(0.02)))),
      bias_(add("bias", Parameter({out}, Init::zeros()))) {}

Variable Linear::forward(const Variable& x, const Pass& pass) {
  return linear(x, weight_.effective(pass), bias_.effective_full(pass));
}

}  // namespace vtrain
