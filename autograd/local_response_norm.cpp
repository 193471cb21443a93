#include "autograd/local_response_norm.h"

namespace vtrain {

Variable local_response_norm(const Variable& x, const LocalResponseNormOptions& options) {
  return Variable::from({"local_response_norm",
                         {{"size", static_cast<double>(options.size)},
                          {"alpha", options.alpha},
                          {"beta", options.beta},
                          {"k", options.k}}},
                        local_response_norm(x.value(), options), {x},
                        [x = Saved(x.value()), options](const Tensor& dy) {
                          return Grads{local_response_norm_grad(x.get(), dy, options)};
                        });
}

}  // namespace vtrain
