#include "nn/layers/local_response_norm.h"

#include "autograd/local_response_norm.h"

namespace vtrain {

Variable LocalResponseNorm::forward(const Variable& x, const Pass&) {
  return local_response_norm(x, options_);
}

}  // namespace vtrain
