#include "nn/layers/gelu.h"

#include "autograd/normalize.h"

namespace vtrain {

Variable Gelu::forward(const Variable& x, const Pass&) { return gelu(x); }

}  // namespace vtrain
