#include "nn/layers/pointwise.h"

#include "autograd/activation.h"

namespace vtrain {

Variable Pointwise::forward(const Variable& x, const Pass&) { return activation(kind_, x); }
Variable LeakyRelu::forward(const Variable& x, const Pass&) { return leaky_relu(x, slope_); }

}  // namespace vtrain
