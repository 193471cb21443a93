#include "autograd/select_channels.h"

#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {

Variable select_channels(const Variable& x, const Variable& index) {
  if (index.ndim() != 1)
    throw ShapeError(str("[select_channels] index ", index.shape(), ": expected (K)"));
  // Rounded: a moving average of whole numbers may be a little off.
  const Tensor at = add(index.value(), 0.5).to(DType::i32);
  return Variable::from({"select_channels"}, index_select(x.value(), -1, at), {x, index},
                        [at = Saved(at), channels = x.dim(x.ndim() - 1)](const Tensor& dy) {
                          return Grads{index_select_grad(dy, -1, at.get(), channels), Tensor()};
                        });
}

}  // namespace vtrain
