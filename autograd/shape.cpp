#include "autograd/shape.h"

#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/rows.h"

namespace vtrain {

Variable cast(const Variable& x, DType dtype) {
  check_real("cast", "x", x.value());
  if (x.value().dtype() == dtype) return x;
  return Variable::from({.name = "cast", .takes_wide_gradient = true}, x.value().to(dtype), {x},
                        [own = x.value().dtype()](const Tensor& dy) { return Grads{dy.to(own)}; });
}

Variable reshape(const Variable& x, const Shape& shape) {
  // A weight's gradient stays as wide as it comes: patch embedding reshapes between cast and
  // product.
  return Variable::from({.name = "reshape", .takes_wide_gradient = true}, x.value().reshape(shape),
                        {x},
                        [shape = x.shape()](const Tensor& dy) { return Grads{dy.reshape(shape)}; });
}

Variable transpose(const Variable& x, int a, int b) {
  return Variable::from(
      {.name = "transpose", .attributes = {{"a", a}, {"b", b}}, .takes_wide_gradient = true},
      x.value().transpose(a, b), {x},
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

namespace {
void check_images(const char* op, const Tensor& x) {
  if (x.ndim() != 4) throw ShapeError(str('[', op, "] x ", x.shape(), ": expected (N, C, H, W)"));
}

Tensor zero_images(const Shape& shape, const Tensor& like) {
  Tensor t = Tensor::empty_channels_last(shape, like.dtype(), like.device());
  t.fill(0);
  return t;
}

/// Every step-th row and column, on the same storage.
Tensor subsampled(const Tensor& x, int64_t step) {
  Shape shape = x.shape(), strides = x.strides();
  for (const size_t axis : {2, 3}) {
    shape[axis] = (shape[axis] + step - 1) / step;
    strides[axis] *= step;
  }
  return x.view(shape, strides, 0);
}
}  // namespace

Variable subsample(const Variable& x, int64_t step) {
  check_images("subsample", x.value());
  if (step < 1) throw ShapeError(str("[subsample] step: expected at least 1, got ", step));
  const Tensor view = subsampled(x.value(), step);
  Tensor y = Tensor::empty_channels_last(view.shape(), view.dtype(), view.device());
  y.copy_from(view);
  return Variable::from({"subsample", {{"step", static_cast<double>(step)}}}, y, {x},
                        [shape = x.shape(), step](const Tensor& dy) {
                          Tensor dx = zero_images(shape, dy);
                          subsampled(dx, step).copy_from(dy);
                          return Grads{dx};
                        });
}

Variable pad_channels(const Variable& x, int64_t front, int64_t back) {
  check_images("pad_channels", x.value());
  if (front < 0 || back < 0)
    throw ShapeError(str("[pad_channels] expected counts of at least 0, got ", front, ", ", back));
  Shape shape = x.shape();
  shape[1] += front + back;
  const int64_t end = front + x.dim(1);
  Tensor y = zero_images(shape, x.value());
  y.slice(1, front, end).copy_from(x.value());
  return Variable::from(
      {"pad_channels",
       {{"front", static_cast<double>(front)}, {"back", static_cast<double>(back)}}},
      y, {x}, [front, end](const Tensor& dy) { return Grads{dy.slice(1, front, end)}; });
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
