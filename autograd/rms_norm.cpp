#include "autograd/rms_norm.h"

#include "tensor/ops/rms_norm.h"

namespace vtrain {

Variable rms_norm(const Variable& x, const Variable& weight, double eps) {
  const Tensor w = weight.defined() ? weight.value() : Tensor();
  const auto [y, rrms] = rms_norm(x.value(), w, eps);
  return Variable::from({"rms_norm", {{"eps", eps}}}, y, {x, weight},
                        [x = Saved(x.value()), w = Saved(w), rrms = rrms](const Tensor& dy) {
                          const RmsNormGrads grads = rms_norm_grad(x.get(), w.get(), rrms, dy);
                          return Grads{grads.dx, grads.dweight};
                        });
}

}  // namespace vtrain
