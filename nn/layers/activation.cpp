#include "nn/layers/activation.h"

#include "autograd/arithmetic.h"

namespace vtrain {

Variable Relu::forward(const Variable& x, const Pass&) {
  return is_capped_at_6_ ? relu6(x) : relu(x);
}

}  // namespace vtrain
