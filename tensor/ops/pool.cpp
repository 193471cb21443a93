#include "tensor/ops/pool.h"

#include <algorithm>

namespace vtrain {
namespace {

void check_images(const char* op, const char* name, const Tensor& x) {
  check_real(op, name, x);
  if (x.ndim() != 4)
    throw ShapeError(str('[', op, "] ", name, ' ', x.shape(), ": expected (N, C, H, W)"));
  if (x.dim(0) == 0)
    throw ShapeError(str('[', op, "] ", name, ' ', x.shape(), ": the batch is empty"));
}

void check_reads(const char* op, const Tensor& x, const PoolWindows& windows) {
  check_images(op, "x", x);
  if (x.dim(2) != windows.rows.in || x.dim(3) != windows.columns.in) {
    throw ShapeError(str('[', op, "] x ", x.shape(), ": expected ", windows.rows.in, " x ",
                         windows.columns.in, " positions, those of the windows"));
  }
}

void check_dy(const char* op, const Tensor& dy, const PoolWindows& windows) {
  check_images(op, "dy", dy);
  if (dy.dim(2) != windows.rows.out || dy.dim(3) != windows.columns.out) {
    throw ShapeError(str('[', op, "] dy ", dy.shape(), ": expected ", windows.rows.out, " x ",
                         windows.columns.out, " windows"));
  }
}

Tensor images_like(const Tensor& x, int64_t h, int64_t w, DType dtype) {
  return Tensor::empty_channels_last({x.dim(0), x.dim(1), h, w}, dtype, x.device());
}

/// Fills first and last from begin and end, which both ascend.
PoolAxis with_readers(PoolAxis axis) {
  int32_t first = 0, last = 0;
  for (int64_t p = 0; p < axis.in; ++p) {
    while (first < axis.out && axis.end[static_cast<size_t>(first)] <= p) ++first;
    while (last < axis.out && axis.begin[static_cast<size_t>(last)] <= p) ++last;
    axis.first.push_back(first);
    axis.last.push_back(last);
  }
  return axis;
}

PoolAxis sliding(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                 const Pool2dOptions& options) {
  PoolAxis axis{.in = in};
  const int64_t reach = in + 2 * padding - kernel;
  if (reach < 0) return axis;
  axis.out = (reach + (options.ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (options.ceil_mode && (axis.out - 1) * stride >= in + padding) --axis.out;
  for (int64_t i = 0; i < axis.out; ++i) {
    const int64_t begin = i * stride - padding, end = std::min(begin + kernel, in + padding);
    axis.begin.push_back(static_cast<int32_t>(std::max<int64_t>(begin, 0)));
    axis.end.push_back(static_cast<int32_t>(std::min(end, in)));
    const int64_t count =
        options.count_include_pad ? end - begin : axis.end.back() - axis.begin.back();
    axis.share.push_back(1 / static_cast<double>(count));
  }
  return with_readers(std::move(axis));
}

PoolAxis adaptive(int64_t in, int64_t out) {
  PoolAxis axis{.in = in, .out = out};
  for (int64_t i = 0; i < out; ++i) {
    axis.begin.push_back(static_cast<int32_t>(i * in / out));
    axis.end.push_back(static_cast<int32_t>(((i + 1) * in + out - 1) / out));
    axis.share.push_back(1 / static_cast<double>(axis.end.back() - axis.begin.back()));
  }
  return with_readers(std::move(axis));
}

int64_t longest(const PoolAxis& axis) {
  int64_t length = 0;
  for (size_t i = 0; i < axis.begin.size(); ++i)
    length = std::max<int64_t>(length, axis.end[i] - axis.begin[i]);
  return length;
}

void check_image_shape(const char* op, const Shape& x) {
  if (x.size() != 4) throw ShapeError(str('[', op, "] x ", x, ": expected (N, C, H, W)"));
}

}  // namespace

int64_t PoolWindows::taps() const { return longest(rows) * longest(columns); }

PoolWindows sliding_windows(const char* op, const Shape& x, const Pool2dOptions& o) {
  check_image_shape(op, x);
  const Extent2d stride(o.stride.h == 0 ? o.kernel.h : o.stride.h,
                        o.stride.w == 0 ? o.kernel.w : o.stride.w);
  if (o.kernel.h < 1 || o.kernel.w < 1 || stride.h < 1 || stride.w < 1)
    throw ShapeError(str('[', op, "] options: expected kernel and stride of at least 1"));
  if (o.padding.h < 0 || o.padding.w < 0 || 2 * o.padding.h > o.kernel.h ||
      2 * o.padding.w > o.kernel.w) {
    throw ShapeError(str('[', op, "] padding (", o.padding.h, ", ", o.padding.w,
                         "): expected 0 to half the kernel (", o.kernel.h, ", ", o.kernel.w, ')'));
  }
  PoolWindows windows{sliding(x[2], o.kernel.h, stride.h, o.padding.h, o),
                      sliding(x[3], o.kernel.w, stride.w, o.padding.w, o)};
  if (windows.rows.out < 1 || windows.columns.out < 1) {
    throw ShapeError(str('[', op, "] x ", x, ": is smaller, padding included, than the kernel (",
                         o.kernel.h, ", ", o.kernel.w, ')'));
  }
  return windows;
}

PoolWindows adaptive_windows(const char* op, const Shape& x, Extent2d size) {
  check_image_shape(op, x);
  if (size.h < 1 || size.w < 1)
    throw ShapeError(str('[', op, "] size: expected at least 1, got (", size.h, ", ", size.w, ')'));
  if (x[2] < 1 || x[3] < 1)
    throw ShapeError(str('[', op, "] x ", x, ": expected at least one position"));
  return {adaptive(x[2], size.h), adaptive(x[3], size.w)};
}

MaxPool max_pool(const Tensor& x, const PoolWindows& windows, PoolTaps taps) {
  check_reads("max_pool", x, windows);
  const int64_t h = windows.rows.out, w = windows.columns.out;
  MaxPool result{images_like(x, h, w, x.dtype()), {}};
  if (taps == PoolTaps::kKeep)
    result.taps = images_like(x, h, w, windows.taps() <= 256 ? DType::u8 : DType::i32);
  pool_kernels.on(x.device()).max(x.channels_last(), windows, result.y, result.taps);
  return result;
}

Tensor max_pool_grad(const Tensor& dy, const Tensor& taps, const PoolWindows& windows) {
  check_dy("max_pool_grad", dy, windows);
  check_same_shape("max_pool_grad", "dy", dy, "taps", taps);
  Tensor dx = images_like(dy, windows.rows.in, windows.columns.in, dy.dtype());
  pool_kernels.on(dy.device()).max_grad(dy.channels_last(), taps.channels_last(), windows, dx);
  return dx;
}

Tensor average_pool(const Tensor& x, const PoolWindows& windows) {
  check_reads("average_pool", x, windows);
  Tensor y = images_like(x, windows.rows.out, windows.columns.out, x.dtype());
  pool_kernels.on(x.device()).average(x.channels_last(), windows, y);
  return y;
}

Tensor average_pool_grad(const Tensor& dy, const PoolWindows& windows) {
  check_dy("average_pool_grad", dy, windows);
  Tensor dx = images_like(dy, windows.rows.in, windows.columns.in, dy.dtype());
  pool_kernels.on(dy.device()).average_grad(dy.channels_last(), windows, dx);
  return dx;
}

}  // namespace vtrain
