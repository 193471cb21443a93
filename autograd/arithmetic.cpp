#include "autograd/arithmetic.h"

#include <limits>
#include <utility>

#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {

Variable operator+(const Variable& a, const Variable& b) {
  const Tensor y = add(a.value(), b.value());
  return Variable::from({"add"}, y, {a, b}, [sa = a.shape(), sb = b.shape()](const Tensor& dy) {
    return Grads{sum_to(dy, sa), sum_to(dy, sb)};
  });
}

Variable operator-(const Variable& a, const Variable& b) {
  const Tensor y = subtract(a.value(), b.value());
  return Variable::from(
      {"subtract"}, y, {a, b},
      [sa = a.shape(), sb = b.shape(), need_b = b.requires_grad()](const Tensor& dy) {
        return Grads{sum_to(dy, sa), need_b ? negate(sum_to(dy, sb)) : Tensor()};
      });
}

Variable operator*(const Variable& a, const Variable& b) {
  const Tensor y = multiply(a.value(), b.value());
  // Only what the other side's gradient reads is kept.
  const Saved xa = b.requires_grad() ? a.value() : Tensor(),
              xb = a.requires_grad() ? b.value() : Tensor();
  return Variable::from(
      {"multiply"}, y, {a, b}, [xa, xb, sa = a.shape(), sb = b.shape()](const Tensor& dy) {
        return Grads{xb.get().defined() ? sum_to(multiply(dy, xb.get()), sa) : Tensor(),
                     xa.get().defined() ? sum_to(multiply(dy, xa.get()), sb) : Tensor()};
      });
}

Variable operator/(const Variable& a, const Variable& b) {
  const Tensor y = divide(a.value(), b.value());
  return Variable::from({"divide"}, y, {a, b},
                        [xb = Saved(b.value()), saved_y = Saved(y), sa = a.shape(), sb = b.shape(),
                         need_a = a.requires_grad(), need_b = b.requires_grad()](const Tensor& dy) {
                          const Tensor da = divide(dy, xb.get());
                          return Grads{
                              need_a ? sum_to(da, sa) : Tensor(),
                              need_b ? negate(sum_to(multiply(da, saved_y.get()), sb)) : Tensor()};
                        });
}

Variable operator+(const Variable& a, double b) {
  return Variable::from({"add_scalar", {{"value", b}}}, add(a.value(), b), {a},
                        [](const Tensor& dy) { return Grads{dy}; });
}
Variable operator-(const Variable& a, double b) { return a + (-b); }
Variable operator*(const Variable& a, double b) {
  return Variable::from({"multiply_scalar", {{"value", b}}}, multiply(a.value(), b), {a},
                        [b](const Tensor& dy) { return Grads{multiply(dy, b)}; });
}
Variable operator*(double a, const Variable& b) { return b * a; }
Variable operator/(const Variable& a, double b) { return a * (1 / b); }
Variable operator-(const Variable& a) { return a * -1.0; }

Variable exp(const Variable& x) {
  const Tensor y = exp(x.value());
  return Variable::from({"exp"}, y, {x},
                        [y = Saved(y)](const Tensor& dy) { return Grads{multiply(dy, y.get())}; });
}

Variable log(const Variable& x) {
  return Variable::from({"log"}, log(x.value()), {x}, [x = Saved(x.value())](const Tensor& dy) {
    return Grads{divide(dy, x.get())};
  });
}

Variable sqrt(const Variable& x) {
  const Tensor y = sqrt(x.value());
  return Variable::from({"sqrt"}, y, {x}, [y = Saved(y)](const Tensor& dy) {
    return Grads{divide(multiply(dy, 0.5), y.get())};
  });
}

Variable square(const Variable& x) {
  return Variable::from({"square"}, square(x.value()), {x},
                        [x = Saved(x.value())](const Tensor& dy) {
                          return Grads{multiply(multiply(dy, x.get()), 2.0)};
                        });
}

Variable sigmoid(const Variable& x) {
  const Tensor y = sigmoid(x.value());
  return Variable::from({"sigmoid"}, y, {x}, [y = Saved(y)](const Tensor& dy) {
    return Grads{multiply(dy, subtract(y.get(), square(y.get())))};  // y (1 - y)
  });
}

Variable relu(const Variable& x) {
  const Tensor y = relu(x.value());
  return Variable::from({"relu"}, y, {x}, [y = Saved(y)](const Tensor& dy) {
    return Grads{where_inside(y.get(), 0, std::numeric_limits<double>::infinity(), dy)};
  });
}

Variable relu6(const Variable& x) {
  const Tensor y = clamp(x.value(), 0, 6);
  return Variable::from({"relu6"}, y, {x}, [y = Saved(y)](const Tensor& dy) {
    return Grads{where_inside(y.get(), 0, 6, dy)};
  });
}

namespace {
/// dy of a sum over dims, repeated back to x's shape. Beside a bf16 x it is rounded first: so many
/// copies need no more digits than x has.
Tensor spread(const Tensor& dy, const Shape& shape, DType dtype, const std::vector<int>& dims) {
  Shape kept = shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (dims.empty()) kept[i] = 1;
  }
  for (const int dim : dims) kept[static_cast<size_t>(checked_dim("sum", dim, shape))] = 1;
  return add(zeros(shape, dtype, dy.device()), dy.to(dtype).reshape(kept));
}
}  // namespace

Variable sum(const Variable& x, const std::vector<int>& dims, bool keep_dims) {
  Op op{"sum", {{"keep_dims", keep_dims}}};
  for (size_t i = 0; i < dims.size(); ++i)  // none: all
    op.attributes.emplace_back(str("axis_", i), checked_dim("sum", dims[i], x.shape()));
  return Variable::from(std::move(op), sum(x.value(), dims, keep_dims), {x},
                        [shape = x.shape(), dtype = x.value().dtype(), dims](const Tensor& dy) {
                          return Grads{spread(dy, shape, dtype, dims)};
                        });
}

Variable mean(const Variable& x, const std::vector<int>& dims, bool keep_dims) {
  const Variable total = sum(x, dims, keep_dims);
  return total *
         (static_cast<double>(total.value().numel()) / static_cast<double>(x.value().numel()));
}

}  // namespace vtrain
