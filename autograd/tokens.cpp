#include "autograd/tokens.h"

#include "tensor/ops/rows.h"

namespace vtrain {

Variable gather_rows(const Variable& x, const Variable& index) {
  return Variable::from({"gather_rows"}, gather_rows(x.value(), index.value()), {x, index},
                        [index = Saved(index.value()), rows = x.dim(1)](const Tensor& dy) {
                          return Grads{gather_rows_grad(dy, index.get(), rows), Tensor()};
                        });
}

Variable select_top(const Variable& score, int64_t k) {
  // The trace sees the score itself, so that the chain from what made it stays whole; the tape ends
  // here.
  return Variable::from({"select_top", {{"k", static_cast<double>(k)}}},
                        select_top(score.value(), k), {score},
                        [](const Tensor&) { return Grads{Tensor()}; });
}

Variable with_special(const Variable& index, int64_t num_special) {
  return Variable::from({"with_special", {{"num_special", static_cast<double>(num_special)}}},
                        lead_with(index.value(), num_special), {index}, nullptr);
}

Variable straight_through(const Tensor& hard, const Variable& soft) {
  check_same_shape("straight_through", "soft", soft.value(), "hard", hard);
  return Variable::from({"straight_through"}, hard, {soft},
                        [](const Tensor& dy) { return Grads{dy}; });
}

}  // namespace vtrain
