#include "nn/layers/add.h"

#include "autograd/arithmetic.h"
#include "autograd/trace.h"

namespace vtrain {

Variable Add::operator()(const Variable& a, const Variable& b, const Pass& pass) {
  const Variable sum = [&] {
    const Trace::Scope scope(path());
    return a + b;
  }();
  return Module::operator()(sum, pass);
}

Variable Add::forward(const Variable& x, const Pass&) { return x; }

}  // namespace vtrain
