#include "autograd/token_merge.h"

namespace vtrain {
namespace {

Tensor value_or_none(const Variable& v) { return v.defined() ? v.value() : Tensor(); }

}  // namespace

Variable match_tokens(const Variable& x, const MatchOptions& options) {
  const int64_t samples = x.dim(0), length = x.dim(1);
  Op op{"match_tokens",
        {{"begin", static_cast<double>(options.begin)},
         {"heads", static_cast<double>(options.heads)},
         {"width", static_cast<double>(options.width)},
         {"num_special", static_cast<double>(options.num_special)},
         {"r", static_cast<double>(options.r)}},
        samples * ((length + 1) / 2) * (length / 2) * options.width};
  // As in select_top, the trace sees what is decided on, and the tape ends here.
  return Variable::from(std::move(op), match_tokens(x.value(), options), {x},
                        [](const Tensor&) { return Grads{Tensor()}; });
}

Variable merge_rows(const Variable& x, const Variable& sizes, const Variable& to, int64_t rows) {
  const Tensor s = value_or_none(sizes);
  return Variable::from({"merge_rows", {{"rows", static_cast<double>(rows)}}},
                        merge_rows(x.value(), s, to.value(), rows), {x, sizes, to},
                        [s = Saved(s), to = Saved(to.value())](const Tensor& dy) {
                          return Grads{merge_rows_grad(dy, s.get(), to.get()), Tensor(), Tensor()};
                        });
}

Variable merge_sizes(const Variable& sizes, const Variable& to, int64_t rows) {
  return Variable::from({"merge_sizes", {{"rows", static_cast<double>(rows)}}},
                        merge_sizes(value_or_none(sizes), to.value(), rows), {sizes, to},
                        [](const Tensor&) {
                          return Grads{Tensor(), Tensor()};
                        });
}

}  // namespace vtrain
