#include "autograd/linear.h"

#include "tensor/ops/matmul.h"
#include "tensor/ops/rows.h"

namespace vtrain {

Variable linear(const Variable& x, const Variable& w, const Variable& b) {
  const Tensor y = linear(x.value(), w.value(), b.defined() ? b.value() : Tensor());
  const Saved saved_x = w.requires_grad() ? x : Variable(),
              saved_w = x.requires_grad() ? w.value() : Tensor();
  const bool need_b = b.requires_grad();
  return Variable::from({"linear", {}, x.value().numel() * w.dim(0)}, y, {x, w, b},
                        [saved_x, saved_w, need_b](const Tensor& dy) {
                          return Grads{
                              saved_w.defined() ? linear_grad_x(dy, saved_w.get()) : Tensor(),
                              saved_x.defined() ? linear_grad_w(dy, saved_x.get()) : Tensor(),
                              need_b ? linear_grad_b(dy) : Tensor()};
                        });
}

Variable matmul(const Variable& a, const Variable& b) {
  const Tensor z = matmul(a.value(), b.value());
  const Saved xa = b.requires_grad() ? a.value() : Tensor(),
              xb = a.requires_grad() ? b.value() : Tensor();
  return Variable::from(
      {"matmul", {}, z.numel() * a.dim(-1)}, z, {a, b}, [xa, xb](const Tensor& dz) {
        return Grads{xb.get().defined() ? matmul(dz, xb.get().transpose(-1, -2)) : Tensor(),
                     xa.get().defined() ? matmul(xa.get().transpose(-1, -2), dz) : Tensor()};
      });
}

Variable patchify(const Variable& images, int64_t patch) {
  return Variable::from({"patchify", {{"patch", static_cast<double>(patch)}}},
                        patchify(images.value(), patch), {images},
                        [patch, shape = images.shape()](const Tensor& dy) {
                          return Grads{patchify_grad(dy, patch, shape)};
                        });
}

}  // namespace vtrain
