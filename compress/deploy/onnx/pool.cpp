// Pooling. Runtimes disagree on ceil_mode, so it is never written: the padding behind the image is
// made as long as the last window needs.
#include "tensor/ops/pool.h"

#include <algorithm>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

using Ints = std::vector<int64_t>;

/// Of one axis: the padding behind that gives `out` windows, at least `pad`.
int64_t pad_behind(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad) {
  return std::max(pad, (out - 1) * stride + kernel - in - pad);
}

struct Sliding {
  Ints kernel, strides, pads;
  bool is_longer = false;  // a window reaches beyond the padding asked for
};

Sliding sliding(const OnnxWriter& w) {
  const Shape x = w.shape(0), y = w.result_shape();
  const int64_t kh = w.integer("kernel_h"), kw = w.integer("kernel_w"), sh = w.integer("stride_h"),
                sw = w.integer("stride_w"), ph = w.integer("padding_h"),
                pw = w.integer("padding_w");
  const int64_t bottom = pad_behind(x[2], y[2], kh, sh, ph),
                right = pad_behind(x[3], y[3], kw, sw, pw);
  return {{kh, kw}, {sh, sw}, {ph, pw, bottom, right}, bottom > ph || right > pw};
}

std::string max_pool2d(OnnxWriter& w) {
  const Sliding s = sliding(w);
  return w("MaxPool", {w.input(0)},
           {{"kernel_shape", s.kernel}, {"strides", s.strides}, {"pads", s.pads}});
}

/// 1 / what an average divides by, times the window's positions: (1, 1, H', W').
Tensor correction(const OnnxWriter& w, const Sliding& s) {
  const Pool2dOptions options{.kernel = {s.kernel[0], s.kernel[1]},
                              .stride = {s.strides[0], s.strides[1]},
                              .padding = {w.integer("padding_h"), w.integer("padding_w")},
                              .ceil_mode = w.integer("ceil_mode") != 0,
                              .count_include_pad = w.integer("count_include_pad") != 0};
  Shape x = w.shape(0);
  x[0] = 1;
  const PoolWindows windows = sliding_windows("average_pool2d", x, options);
  std::vector<double> factors;
  for (const double row : windows.rows.share) {
    for (const double column : windows.columns.share)
      factors.push_back(row * column * static_cast<double>(s.kernel[0] * s.kernel[1]));
  }
  return from_values({1, 1, windows.rows.out, windows.columns.out}, factors, w.result_dtype());
}

/// Where padding counts, what lies beyond it does not; no attribute says so. Then every window is
/// divided by its whole extent, and the quotient mended.
std::string average_pool2d(OnnxWriter& w) {
  const Sliding s = sliding(w);
  const int64_t counts_padding = w.integer("count_include_pad");
  std::string y = w("AveragePool", {w.input(0)},
                    {{"kernel_shape", s.kernel},
                     {"strides", s.strides},
                     {"pads", s.pads},
                     {"count_include_pad", counts_padding}});
  if (!s.is_longer || counts_padding == 0) return y;
  return w("Mul", {y, w.constant(correction(w, s))});
}

bool divides(const Shape& x, const Shape& y) { return x[2] % y[2] == 0 && x[3] % y[3] == 0; }

/// Windows without overlap, all of one size.
std::string tiled(OnnxWriter& w, const std::string& op, const Shape& x, const Shape& y) {
  const Ints kernel{x[2] / y[2], x[3] / y[3]};
  return w(op, {w.input(0)}, {{"kernel_shape", kernel}, {"strides", kernel}});
}

/// (out, in): row i averages the positions that output i reads.
Tensor averaging(const PoolAxis& axis, DType dtype) {
  std::vector<double> weights(static_cast<size_t>(axis.out * axis.in), 0);
  for (int64_t i = 0; i < axis.out; ++i) {
    for (int64_t p = axis.begin[static_cast<size_t>(i)]; p < axis.end[static_cast<size_t>(i)]; ++p)
      weights[static_cast<size_t>(i * axis.in + p)] = axis.share[static_cast<size_t>(i)];
  }
  return from_values({axis.out, axis.in}, weights, dtype);
}

PoolWindows adaptive(const OnnxWriter& w) {
  Shape x = w.shape(0);
  x[0] = 1;
  return adaptive_windows("adaptive_pool2d", x, {w.integer("h"), w.integer("w")});
}

std::string adaptive_average_pool2d(OnnxWriter& w) {
  const Shape x = w.shape(0), y = w.result_shape();
  if (y[2] == 1 && y[3] == 1) return w("GlobalAveragePool", {w.input(0)});
  if (divides(x, y)) return tiled(w, "AveragePool", x, y);
  const PoolWindows windows = adaptive(w);
  const std::string rows =
      w("MatMul", {w.constant(averaging(windows.rows, w.result_dtype())), w.input(0)});
  const Tensor columns = averaging(windows.columns, w.result_dtype());
  return w("MatMul", {rows, w.constant(columns.transpose(0, 1))});
}

/// The largest along one axis, of each of its windows.
std::string largest(OnnxWriter& w, const std::string& x, int axis, const PoolAxis& windows) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < windows.begin.size(); ++i) {
    parts.push_back(w("ReduceMax", {w.sliced(x, axis, windows.begin[i], windows.end[i])},
                      {{"axes", Ints{axis}}, {"keepdims", 1}}));
  }
  return w("Concat", parts, {{"axis", axis}});
}

std::string adaptive_max_pool2d(OnnxWriter& w) {
  const Shape x = w.shape(0), y = w.result_shape();
  if (y[2] == 1 && y[3] == 1) return w("GlobalMaxPool", {w.input(0)});
  if (divides(x, y)) return tiled(w, "MaxPool", x, y);
  const PoolWindows windows = adaptive(w);
  return largest(w, largest(w, w.input(0), 2, windows.rows), 3, windows.columns);
}

const RegisteredOnnxOp registered[] = {{"max_pool2d", max_pool2d},
                                       {"average_pool2d", average_pool2d},
                                       {"adaptive_average_pool2d", adaptive_average_pool2d},
                                       {"adaptive_max_pool2d", adaptive_max_pool2d}};

}  // namespace
}  // namespace vtrain
