#include "autograd/shape.h"

#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/rows.h"

namespace vtrain {

Variable cast(const Variable& x, DType dtype) {
  check_floating("cast", "x", x.value());
  if (x.value().dtype() == dtype) return x;
  return Variable::from({.name = "cast", .takes_wide_gradient = true}, x.value().to(dtype), {x},
                        [own = x.value().dtype()](const Tensor& dy) { return Grads{dy.to(own)}; });
}

Variable reshape(const Variable& x, const Shape& shape) {
  return Variable::from({"reshape"}, x.value().reshape(shape), {x},
                        [shape = x.shape()](const Tensor& dy) { return Grads{dy.reshape(shape)}; });
}

Variable transpose(const Variable& x, int a, int b) {
  return Variable::from({"transpose", {{"a", a}, {"b", b}}}, x.value().transpose(a, b), {x},
                        [a, b](const Tensor& dy) { return Grads{dy.transpose(a, b)}; });
}

Variable slice(const Variable& x, int axis, int64_t begin, int64_t end) {
  const Tensor y = x.value().slice(axis, begin, end);
  return Variable::from(
      {"slice",
       {{"axis", axis}, {"begin", static_cast<double>(begin)}, {"end", static_cast<double>(end)}}},
      y, {x}, [shape = x.shape(), axis, begin, end](const Tensor& dy) {
        Tensor dx = zeros(shape, dy.dtype(), dy.device());
        dx.slice(axis, begin, end).copy_from(dy);
        return Grads{dx};
      });
}

Variable select(const Variable& x, int axis, int64_t index) {
  const int dropped = checked_dim("select", axis, x.shape());
  Shape shape = x.shape();
  shape.erase(shape.begin() + dropped);
  return reshape(slice(x, dropped, index, index + 1), shape);
}

Variable concat(const std::vector<Variable>& parts, int dim) {
  std::vector<Tensor> values;
  for (const Variable& part : parts) values.push_back(part.value());
  const Tensor y = concat(values, dim);
  const int axis = checked_dim("concat", dim, y.shape());
  std::vector<int64_t> extents;
  for (const Tensor& value : values) extents.push_back(value.dim(axis));
  return Variable::from({"concat", {{"dim", axis}}}, y, parts, [extents, axis](const Tensor& dy) {
    Grads grads;
    int64_t at = 0;
    for (const int64_t extent : extents) {
      grads.push_back(dy.slice(axis, at, at + extent));
      at += extent;
    }
    return grads;
  });
}

Variable expand(const Variable& x, const Shape& shape) {
  const Tensor y = add(zeros(shape, x.value().dtype(), x.value().device()), x.value());
  if (y.shape() != shape)
    throw ShapeError(str("[expand] x ", x.shape(), ": does not broadcast to ", shape));
  return Variable::from({"expand"}, y, {x},
                        [shape = x.shape()](const Tensor& dy) { return Grads{sum_to(dy, shape)}; });
}

}  // namespace vtrain
