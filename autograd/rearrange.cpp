#include "autograd/rearrange.h"

#include <algorithm>
#include <utility>

#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

double number(int64_t n) { return static_cast<double>(n); }

bool is_image_in_rows(const Tensor& x) { return x.is_channels_last() && !x.is_contiguous(); }

/// An undefined tensor of that shape in the memory order of x.
Tensor empty_in_order_of(const Tensor& x, const Shape& shape) {
  return is_image_in_rows(x) ? Tensor::empty_channels_last(shape, x.dtype(), x.device())
                             : Tensor::empty(shape, x.dtype(), x.device());
}

/// to = from, walked as memory lies: copies run along the last axis.
void copy_as_it_lies(bool is_in_rows, Tensor to, const Tensor& from) {
  if (!is_in_rows) return to.copy_from(from);
  to.transpose(1, 2).transpose(2, 3).copy_from(from.transpose(1, 2).transpose(2, 3));
}

Tensor padded(const Tensor& x, const std::vector<AxisPadding>& sides, double value) {
  Shape shape = x.shape();
  for (size_t i = 0; i < shape.size(); ++i) shape[i] += sides[i].front + sides[i].back;
  Tensor y = empty_in_order_of(x, shape);
  y.fill(value);
  Tensor middle = y;
  for (int i = 0; i < x.ndim(); ++i) {
    const int64_t front = sides[static_cast<size_t>(i)].front;
    middle = middle.slice(i, front, front + x.dim(i));
  }
  copy_as_it_lies(is_image_in_rows(x), middle, x);
  return y;
}

Tensor without_padding(Tensor y, const std::vector<AxisPadding>& sides) {
  for (int i = 0; i < y.ndim(); ++i) {
    const AxisPadding& side = sides[static_cast<size_t>(i)];
    y = y.slice(i, side.front, y.dim(i) - side.back);
  }
  return y;
}

/// One part of a split, recorded as the slice that it is. Unlike slice's, its gradient keeps dy's
/// memory order.
Variable part(const Variable& x, int axis, int64_t begin, int64_t end) {
  return Variable::from({"slice", {{"axis", axis}, {"begin", number(begin)}, {"end", number(end)}}},
                        x.value().slice(axis, begin, end), {x},
                        [axis, begin, back = x.dim(axis) - end](const Tensor& dy) {
                          std::vector<AxisPadding> sides(dy.shape().size());
                          sides[static_cast<size_t>(axis)] = {begin, back};
                          return Grads{padded(dy, sides, 0)};
                        });
}

/// Copies the block of x that moves in one piece along axes [next, ...), and the other one.
void roll_from(size_t next, const std::vector<int>& axes, const std::vector<int64_t>& shifts,
               bool is_in_rows, const Tensor& x, const Tensor& y) {
  if (next == axes.size()) return copy_as_it_lies(is_in_rows, y, x);
  const int axis = axes[next];
  const int64_t extent = x.dim(axis);
  if (extent == 0) return;
  const int64_t shift = (shifts[next] % extent + extent) % extent, kept = extent - shift;
  const auto move = [&](int64_t from, int64_t to, int64_t count) {
    if (count > 0) {
      roll_from(next + 1, axes, shifts, is_in_rows, x.slice(axis, from, from + count),
                y.slice(axis, to, to + count));
    }
  };
  move(0, shift, kept);
  move(kept, 0, shift);
}

Tensor rolled(const Tensor& x, const std::vector<int>& axes, const std::vector<int64_t>& shifts) {
  Tensor y = empty_in_order_of(x, x.shape());
  roll_from(0, axes, shifts, is_image_in_rows(x), x, y);
  return y;
}

Tensor reversed(const Tensor& x, int axis) {
  const int64_t extent = x.dim(axis);
  Tensor index = Tensor::empty({extent}, DType::i32);
  for (int64_t i = 0; i < extent; ++i)
    index.data<int32_t>()[i] = static_cast<int32_t>(extent - 1 - i);
  return index_select(x, axis, index.to(x.device()));
}

Tensor shuffled(const Tensor& x, int64_t groups) {
  const int64_t channels = x.dim(1), width = channels / groups;
  Tensor index = Tensor::empty({channels}, DType::i32);
  for (int64_t k = 0; k < channels; ++k)
    index.data<int32_t>()[k] = static_cast<int32_t>(k % groups * width + k / groups);
  return index_select(x, 1, index.to(x.device()));
}

Tensor partitioned(const Tensor& x, int64_t w) {
  const int64_t n = x.dim(0), rows = x.dim(1) / w, columns = x.dim(2) / w, channels = x.dim(3);
  return x.contiguous()
      .reshape({n, rows, w, columns, w, channels})
      .transpose(2, 3)
      .reshape({n * rows * columns, w * w, channels});
}

Tensor joined(const Tensor& windows, int64_t w, int64_t height, int64_t width) {
  const int64_t rows = height / w, columns = width / w, channels = windows.dim(2);
  const int64_t n = windows.dim(0) / (rows * columns);
  return windows.contiguous()
      .reshape({n, rows, columns, w, w, channels})
      .transpose(2, 3)
      .reshape({n, height, width, channels});
}

void check_window(const char* op, int64_t window, int64_t height, int64_t width) {
  if (window < 1 || height < 1 || width < 1 || height % window != 0 || width % window != 0) {
    throw ShapeError(str('[', op, "] window ", window,
                         ": expected one that divides height and width, ", height, " x ", width));
  }
}

}  // namespace

Variable pad(const Variable& x, const std::vector<AxisPadding>& sides, double value) {
  if (static_cast<int>(sides.size()) != x.ndim())
    throw ShapeError(str("[pad] sides: expected ", x.ndim(), " entries, one per axis of x ",
                         x.shape(), ", got ", sides.size()));
  Op op{"pad", {{"value", value}}};
  for (size_t i = 0; i < sides.size(); ++i) {
    if (sides[i].front < 0 || sides[i].back < 0) {
      throw ShapeError(str("[pad] sides: expected counts of at least 0, got ", sides[i].front, ", ",
                           sides[i].back, " along axis ", i));
    }
    op.attributes.emplace_back(str("front_", i), number(sides[i].front));
    op.attributes.emplace_back(str("back_", i), number(sides[i].back));
  }
  return Variable::from(std::move(op), padded(x.value(), sides, value), {x},
                        [sides](const Tensor& dy) { return Grads{without_padding(dy, sides)}; });
}

std::vector<Variable> split(const Variable& x, const std::vector<int64_t>& extents, int dim) {
  const int axis = checked_dim("split", dim, x.shape());
  int64_t total = 0;
  for (const int64_t extent : extents) {
    if (extent < 0) throw ShapeError(str("[split] extents: expected at least 0, got ", extent));
    total += extent;
  }
  if (total != x.dim(axis))
    throw ShapeError(str("[split] extents: expected a sum of ", x.dim(axis), ", axis ", axis,
                         " of x ", x.shape(), ", got ", total));
  std::vector<Variable> parts;
  int64_t begin = 0;
  for (const int64_t extent : extents) {
    parts.push_back(part(x, axis, begin, begin + extent));
    begin += extent;
  }
  return parts;
}

std::vector<Variable> chunk(const Variable& x, int64_t count, int dim) {
  if (count < 1) throw ShapeError(str("[chunk] count: expected at least 1, got ", count));
  const int64_t extent = x.dim(checked_dim("chunk", dim, x.shape())),
                size = std::max<int64_t>((extent + count - 1) / count, 1);
  std::vector<int64_t> extents;
  for (int64_t begin = 0; begin < extent; begin += size)
    extents.push_back(std::min(size, extent - begin));
  return split(x, extents, dim);
}

Variable roll(const Variable& x, const std::vector<int>& axes, const std::vector<int64_t>& shifts) {
  if (axes.size() != shifts.size())
    throw ShapeError(
        str("[roll] shifts: expected ", axes.size(), ", one per axis, got ", shifts.size()));
  Op op{"roll"};
  std::vector<int> checked;
  std::vector<int64_t> back;
  for (size_t i = 0; i < axes.size(); ++i) {
    checked.push_back(checked_dim("roll", axes[i], x.shape()));
    back.push_back(-shifts[i]);
    op.attributes.emplace_back(str("axis_", i), checked[i]);
    op.attributes.emplace_back(str("shift_", i), number(shifts[i]));
  }
  return Variable::from(
      std::move(op), rolled(x.value(), checked, shifts), {x},
      [checked, back](const Tensor& dy) { return Grads{rolled(dy, checked, back)}; });
}

Variable flip(const Variable& x, int axis) {
  const int a = checked_dim("flip", axis, x.shape());
  return Variable::from({"flip", {{"axis", a}}}, reversed(x.value(), a), {x},
                        [a](const Tensor& dy) { return Grads{reversed(dy, a)}; });
}

Variable channel_shuffle(const Variable& x, int64_t groups) {
  if (x.ndim() < 2 || groups < 1 || x.dim(1) % groups != 0) {
    throw ShapeError(str("[channel_shuffle] groups ", groups,
                         ": expected a divisor of the channels of x ", x.shape()));
  }
  return Variable::from(
      {"channel_shuffle", {{"groups", number(groups)}}}, shuffled(x.value(), groups), {x},
      [inverse = x.dim(1) / groups](const Tensor& dy) { return Grads{shuffled(dy, inverse)}; });
}

Variable window_partition(const Variable& x, int64_t window) {
  if (x.ndim() != 4)
    throw ShapeError(str("[window_partition] x ", x.shape(), ": expected (N, H, W, C)"));
  const int64_t height = x.dim(1), width = x.dim(2);
  check_window("window_partition", window, height, width);
  return Variable::from({"window_partition", {{"window", number(window)}}},
                        partitioned(x.value(), window), {x},
                        [window, height, width](const Tensor& dy) {
                          return Grads{joined(dy, window, height, width)};
                        });
}

Variable window_reverse(const Variable& windows, int64_t window, int64_t height, int64_t width) {
  check_window("window_reverse", window, height, width);
  const int64_t per_image = height / window * (width / window);
  if (windows.ndim() != 3 || windows.dim(1) != window * window || windows.dim(0) % per_image != 0) {
    throw ShapeError(str("[window_reverse] windows ", windows.shape(), ": expected (N * ",
                         per_image, ", ", window * window, ", C)"));
  }
  return Variable::from(
      {"window_reverse",
       {{"window", number(window)}, {"height", number(height)}, {"width", number(width)}}},
      joined(windows.value(), window, height, width), {windows},
      [window](const Tensor& dy) { return Grads{partitioned(dy, window)}; });
}

}  // namespace vtrain
