#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

Tensor checked_index(const char* op, const Tensor& index) {
  if (index.dtype() != DType::i32)
    throw ShapeError(str('[', op, "] index: expected i32, got ", index.text()));
  return index.contiguous();
}

AxisExtent extent_of(const Shape& shape, int axis) {
  AxisExtent extent{1, shape[static_cast<size_t>(axis)], 1};
  for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
    if (i < axis) extent.outer *= shape[static_cast<size_t>(i)];
    if (i > axis) extent.inner *= shape[static_cast<size_t>(i)];
  }
  return extent;
}

Shape with_extent(Shape shape, int axis, int64_t extent) {
  shape[static_cast<size_t>(axis)] = extent;
  return shape;
}

/// A channels-last image as the contiguous (N, H, W, C) that it is, and back.
Tensor as_rows(const Tensor& x) { return x.transpose(1, 2).transpose(2, 3); }
Tensor as_image(const Tensor& x) { return x.transpose(2, 3).transpose(1, 2); }
int axis_of_rows(int axis) { return axis == 0 ? 0 : axis == 1 ? 3 : axis - 1; }
bool is_image_in_rows(const Tensor& x) { return x.is_channels_last() && !x.is_contiguous(); }

void check_like_index(const char* op, const char* name, const Shape& shape, const Shape& index,
                      int axis) {
  if (shape.size() != index.size() || with_extent(shape, axis, 0) != with_extent(index, axis, 0)) {
    throw ShapeError(str('[', op, "] index ", index, ": expected the extents of ", name, ' ', shape,
                         " but along axis ", axis));
  }
}

}  // namespace

Tensor index_select(const Tensor& x, int axis, const Tensor& index) {
  const int a = checked_dim("index_select", axis, x.shape());
  if (index.ndim() != 1)
    throw ShapeError(str("[index_select] index ", index.shape(), ": expected (K)"));
  if (is_image_in_rows(x)) return as_image(index_select(as_rows(x), axis_of_rows(a), index));
  const Tensor from = x.contiguous(), at = checked_index("index_select", index);
  Tensor y = Tensor::empty(with_extent(x.shape(), a, index.numel()), x.dtype(), x.device());
  indexing_kernels.on(x.device()).select(from, extent_of(x.shape(), a), at, y);
  return y;
}

Tensor kept(const Tensor& x, int axis, const std::vector<int64_t>& keep) {
  const std::vector<double> indices(keep.begin(), keep.end());
  const Shape shape{static_cast<int64_t>(keep.size())};
  return index_select(x, axis, from_values(shape, indices, DType::i32, x.device()));
}

Tensor index_select_grad(const Tensor& dy, int axis, const Tensor& index, int64_t length) {
  constexpr const char* op = "index_select_grad";
  check_real(op, "dy", dy);
  const int a = checked_dim(op, axis, dy.shape());
  if (index.shape() != Shape{dy.dim(a)})
    throw ShapeError(str('[', op, "] index ", index.shape(), ": expected (", dy.dim(a), ')'));
  if (dy.dtype() == DType::bf16)
    return index_select_grad(dy.to(DType::f32), axis, index, length).to(DType::bf16);
  if (is_image_in_rows(dy))
    return as_image(index_select_grad(as_rows(dy), axis_of_rows(a), index, length));
  const Shape shape = with_extent(dy.shape(), a, length);
  Tensor dx = zeros(shape, dy.dtype(), dy.device());
  indexing_kernels.on(dy.device())
      .select_grad(dy.contiguous(), checked_index(op, index), extent_of(shape, a), dx);
  return dx;
}

Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  const int a = checked_dim("gather", axis, x.shape());
  check_like_index("gather", "x", x.shape(), index.shape(), a);
  const Tensor at = checked_index("gather", index);
  Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
  indexing_kernels.on(x.device()).gather(x.contiguous(), extent_of(x.shape(), a), at, y);
  return y;
}

namespace {
/// What scatter and scatter_add share: their checks, and a contiguous copy of x.
struct Target {
  Tensor y, index, src;
  AxisExtent extent;
};
Target target_of(const char* op, const Tensor& x, int axis, const Tensor& index,
                 const Tensor& src) {
  const int a = checked_dim(op, axis, x.shape());
  check_like_index(op, "x", x.shape(), index.shape(), a);
  check_same_shape(op, "index", index, "src", src);
  check_same_dtype(op, "x", x, "src", src);
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  y.copy_from(x);
  return {y, checked_index(op, index), src.contiguous(), extent_of(x.shape(), a)};
}
}  // namespace

Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& src) {
  check_real("scatter_add", "x", x);
  if (x.dtype() == DType::bf16 && src.dtype() == DType::bf16)
    return scatter_add(x.to(DType::f32), axis, index, src.to(DType::f32)).to(DType::bf16);
  Target t = target_of("scatter_add", x, axis, index, src);
  indexing_kernels.on(x.device()).scatter_add(t.src, t.index, t.extent, t.y);
  return t.y;
}

Tensor scatter(const Tensor& x, int axis, const Tensor& index, const Tensor& src) {
  Target t = target_of("scatter", x, axis, index, src);
  indexing_kernels.on(x.device()).scatter(t.src, t.index, t.extent, t.y);
  return t.y;
}

Tensor scatter_winners(const Shape& x_shape, int axis, const Tensor& index) {
  const int a = checked_dim("scatter_winners", axis, x_shape);
  check_like_index("scatter_winners", "x", x_shape, index.shape(), a);
  Tensor winners = Tensor::empty(index.shape(), DType::u8, index.device());
  indexing_kernels.on(index.device())
      .winners(checked_index("scatter_winners", index), extent_of(x_shape, a), winners);
  return winners;
}

Tensor one_hot(const Tensor& labels, int64_t num_classes) {
  Shape shape = labels.shape(), index_shape = labels.shape();
  shape.push_back(num_classes);
  index_shape.push_back(1);
  const Tensor index = checked_index("one_hot", labels).reshape(index_shape);
  return scatter(zeros(shape, DType::f32, labels.device()), -1, index,
                 ones(index_shape, DType::f32, labels.device()));
}

}  // namespace vtrain
