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
  const int64_t samples = index.dim(0), kept = index.dim(1);
  Tensor all = Tensor::empty({samples, num_special + kept}, DType::i32, index.value().device());
  const int32_t* const from = index.value().data<int32_t>();
  int32_t* const to = all.data<int32_t>();
  for (int64_t n = 0; n < samples; ++n) {
    int32_t* const row = to + n * (num_special + kept);
    for (int64_t t = 0; t < num_special; ++t) row[t] = static_cast<int32_t>(t);
    for (int64_t j = 0; j < kept; ++j)
      row[num_special + j] = from[n * kept + j] + static_cast<int32_t>(num_special);
  }
  return Variable::from({"with_special", {{"num_special", static_cast<double>(num_special)}}}, all,
                        {index}, nullptr);
}

Variable straight_through(const Tensor& hard, const Variable& soft) {
  check_same_shape("straight_through", "soft", soft.value(), "hard", hard);
  return Variable::from({"straight_through"}, hard, {soft},
                        [](const Tensor& dy) { return Grads{dy}; });
}

}  // namespace vtrain
