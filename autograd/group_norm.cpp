#include "autograd/group_norm.h"

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"

namespace vtrain {

Variable group_norm(const Variable& x, int64_t groups, const Variable& weight, const Variable& bias,
                    double eps) {
  if (x.ndim() < 2 || x.value().numel() == 0)
    throw ShapeError(str("[group_norm] x ", x.shape(), ": expected (N, C, ...), not empty"));
  const int64_t channels = x.dim(1);
  if (groups < 1 || channels % groups != 0) {
    throw ShapeError(str("[group_norm] groups ", groups,
                         ": expected a divisor of the channels of x ", x.shape()));
  }
  Shape per_channel(x.shape().size(), 1);
  per_channel[1] = channels;
  const auto broadcast = [&](const char* name, const Variable& v) {
    if (v.shape() != Shape{channels})
      throw ShapeError(str("[group_norm] ", name, ' ', v.shape(), ": expected (", channels,
                           "), one per channel of x ", x.shape()));
    return reshape(cast(v, x.value().dtype()), per_channel);
  };
  const Variable rows = reshape(x, {x.dim(0), groups, -1});
  Variable y = reshape(layer_norm(rows, {}, {}, eps), x.shape());
  if (weight.defined()) y = y * broadcast("weight", weight);
  if (bias.defined()) y = y + broadcast("bias", bias);
  return y;
}

}  // namespace vtrain
