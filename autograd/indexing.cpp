#include "autograd/indexing.h"

#include <utility>

#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {

Variable index_select(const Variable& x, int axis, const Tensor& index) {
  const int a = checked_dim("index_select", axis, x.shape());
  return Variable::from({"index_select", {{"axis", a}}}, index_select(x.value(), a, index),
                        {x, index}, [index = Saved(index), a, length = x.dim(a)](const Tensor& dy) {
                          return Grads{index_select_grad(dy, a, index.get(), length), Tensor()};
                        });
}

Variable gather(const Variable& x, int axis, const Variable& index) {
  const int a = checked_dim("gather", axis, x.shape());
  return Variable::from(
      {"gather", {{"axis", a}}}, gather(x.value(), a, index.value()), {x, index},
      [index = Saved(index.value()), a, shape = x.shape()](const Tensor& dy) {
        return Grads{scatter_add(zeros(shape, dy.dtype(), dy.device()), a, index.get(), dy),
                     Tensor()};
      });
}

Variable scatter_add(const Variable& x, int axis, const Variable& index, const Variable& src) {
  const int a = checked_dim("scatter_add", axis, x.shape());
  return Variable::from({"scatter_add", {{"axis", a}}},
                        scatter_add(x.value(), a, index.value(), src.value()), {x, index, src},
                        [index = Saved(index.value()), a](const Tensor& dy) {
                          return Grads{dy, Tensor(), gather(dy, a, index.get())};
                        });
}

Variable scatter(const Variable& x, int axis, const Variable& index, const Variable& src) {
  const int a = checked_dim("scatter", axis, x.shape());
  return Variable::from(
      {"scatter", {{"axis", a}}}, scatter(x.value(), a, index.value(), src.value()),
      {x, index, src}, [index = Saved(index.value()), a](const Tensor& dy) {
        const Tensor none = zeros(index.get().shape(), dy.dtype(), dy.device());
        const Tensor winners = scatter_winners(dy.shape(), a, index.get()).to(dy.dtype());
        return Grads{scatter(dy, a, index.get(), none), Tensor(),
                     multiply(gather(dy, a, index.get()), winners)};
      });
}

namespace {
SortedVariables recorded(const char* values_name, const char* indices_name, const Variable& x,
                         int axis, SortOrder order, const Sorted& sorted) {
  const Op values{values_name,
                  {{"axis", axis}, {"is_descending", order == SortOrder::kDescending}}},
      indices{indices_name, values.attributes};
  return {
      Variable::from(values, sorted.values, {x},
                     [index = sorted.indices, axis, shape = x.shape()](const Tensor& dy) {
                       return Grads{
                           scatter_add(zeros(shape, dy.dtype(), dy.device()), axis, index, dy)};
                     }),
      // The trace sees what the positions come from; the tape ends here.
      Variable::from(indices, sorted.indices, {x}, [](const Tensor&) { return Grads{Tensor()}; })};
}
}  // namespace

SortedVariables sort(const Variable& x, int axis, SortOrder order) {
  const int a = checked_dim("sort", axis, x.shape());
  return recorded("sort", "sort_indices", x, a, order, sort(x.value(), a, order));
}

SortedVariables top_k(const Variable& x, int64_t k, int axis, SortOrder order) {
  const int a = checked_dim("top_k", axis, x.shape());
  return recorded("top_k", "top_k_indices", x, a, order, top_k(x.value(), k, a, order));
}

}  // namespace vtrain
