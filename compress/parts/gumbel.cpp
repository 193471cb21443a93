#include "compress/parts/gumbel.h"

#include "autograd/arithmetic.h"
#include "autograd/tokens.h"
#include "tensor/ops/unary.h"

namespace vtrain {

Variable gumbel_decision(const Variable& yes, const Variable& no, const Tensor& noise, double tau) {
  const Variable z = (yes - no + Variable(noise)) / tau;
  return straight_through(at_least(z.value(), 0), sigmoid(z));
}

}  // namespace vtrain
