#include "tensor/ops/cross_entropy.h"

namespace vtrain {
namespace {

void check(const char* op, const char* name, const Tensor& x, const Tensor& targets) {
  check_real(op, name, x);
  check_floating(op, "targets", targets);
  if (x.ndim() != 2)
    throw ShapeError(str('[', op, "] ", name, ": expected (N, K), got ", x.shape()));
  check_same_shape(op, name, x, "targets", targets);
  check_wide_dtype(op, name, x, "targets", targets);
}

}  // namespace

CrossEntropy cross_entropy(const Tensor& logits, const Tensor& targets) {
  check("cross_entropy", "logits", logits, targets);
  return cross_entropy_kernels.on(logits.device())
      .forward(logits.contiguous(), targets.contiguous());
}

Tensor cross_entropy_grad(const Tensor& probabilities, const Tensor& targets, const Tensor& dloss) {
  constexpr const char* op = "cross_entropy_grad";
  check_floating(op, "probabilities", probabilities);
  check(op, "probabilities", probabilities, targets);
  check_floating(op, "dloss", dloss);
  check_same_dtype(op, "probabilities", probabilities, "dloss", dloss);
  if (dloss.shape() != Shape{probabilities.dim(0)}) {
    throw ShapeError(str('[', op, "] dloss: expected (", probabilities.dim(0),
                         ") for probabilities ", probabilities.shape(), ", got ", dloss.shape()));
  }
  return cross_entropy_kernels.on(probabilities.device())
      .grad(probabilities.contiguous(), targets.contiguous(), dloss.contiguous());
}

}  // namespace vtrain
