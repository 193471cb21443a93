// Ops that move elements without arithmetic.
#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "compress/deploy/onnx/writer.h"

namespace vtrain {
namespace {

std::string reshape(OnnxWriter& w) { return w.reshaped(w.input(0), w.result_shape()); }

std::string transpose(OnnxWriter& w) {
  const Shape x = w.shape(0);
  std::vector<int64_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  const auto axis = [&](const char* name) {
    return static_cast<size_t>(checked_dim("transpose", static_cast<int>(w.integer(name)), x));
  };
  std::swap(order[axis("a")], order[axis("b")]);
  return w.transposed(w.input(0), order);
}

std::string slice(OnnxWriter& w) {
  return w.sliced(w.input(0), w.fixed_axis("axis"), w.integer("begin"), w.integer("end"));
}

std::string subsample(OnnxWriter& w) {
  const int64_t step = w.integer("step");
  const Shape x = w.shape(0);
  return w.sliced(w.sliced(w.input(0), 2, 0, x[2], step), 3, 0, x[3], step);
}

/// `front` and `back` have an entry per axis.
std::string padded(OnnxWriter& w, std::vector<int64_t> front, const std::vector<int64_t>& back,
                   double value) {
  front.insert(front.end(), back.begin(), back.end());
  return w("Pad", {w.input(0), w.integers(front), w.scalar(value)});
}

std::string pad(OnnxWriter& w) {
  return padded(w, w.integers("front"), w.integers("back"), w.real("value"));
}
std::string pad_channels(OnnxWriter& w) {
  return padded(w, {0, w.integer("front"), 0, 0}, {0, w.integer("back"), 0, 0}, 0);
}

std::string concat(OnnxWriter& w) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < w.node().inputs.size(); ++i) parts.push_back(w.input(i));
  return w("Concat", parts, {{"axis", w.integer("dim")}});
}

std::string expand(OnnxWriter& w) { return w("Expand", {w.input(0), w.extents(w.result_shape())}); }

/// The last `shift` along each axis come to the front.
std::string roll(OnnxWriter& w) {
  const Shape shape = w.shape(0);
  const std::vector<int64_t> axes = w.integers("axis"), shifts = w.integers("shift");
  std::string x = w.input(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = static_cast<int>(axes[i]);
    const int64_t extent = shape[static_cast<size_t>(axis)];
    if (extent < 0) w.refuse("it rolls along the batch, whose size is open");
    const int64_t kept = extent - (shifts[i] % extent + extent) % extent;
    if (kept == extent) continue;
    x = w("Concat", {w.sliced(x, axis, kept, extent), w.sliced(x, axis, 0, kept)},
          {{"axis", axis}});
  }
  return x;
}

std::string flip(OnnxWriter& w) {
  return w.sliced(w.input(0), static_cast<int>(w.integer("axis")), -1,
                  std::numeric_limits<int64_t>::min(), -1);
}

/// Channel k mod g * C/g + k / g goes to k: a transposition of the matrix (g, C/g) of channels.
std::string channel_shuffle(OnnxWriter& w) {
  const Shape x = w.shape(0);
  const int64_t groups = w.integer("groups");
  Shape matrix{x[0], groups, x[1] / groups};
  matrix.insert(matrix.end(), x.begin() + 2, x.end());
  std::vector<int64_t> order(matrix.size());
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[1], order[2]);
  return w.reshaped(w.transposed(w.reshaped(w.input(0), matrix), order), x);
}

/// (N, H, W, C) -> (N * H/w * W/w, w w, C)
std::string window_partition(OnnxWriter& w) {
  const Shape x = w.shape(0);
  const int64_t side = w.integer("window");
  const std::string cut =
      w.reshaped(w.input(0), {x[0], x[1] / side, side, x[2] / side, side, x[3]});
  return w.reshaped(w.transposed(cut, {0, 1, 3, 2, 4, 5}), w.result_shape());
}
std::string window_reverse(OnnxWriter& w) {
  const Shape y = w.result_shape();
  const int64_t side = w.integer("window");
  const std::string cut =
      w.reshaped(w.input(0), {y[0], y[1] / side, y[2] / side, side, side, y[3]});
  return w.reshaped(w.transposed(cut, {0, 1, 3, 2, 4, 5}), y);
}

const RegisteredOnnxOp registered[] = {{"reshape", reshape},
                                       {"transpose", transpose},
                                       {"slice", slice},
                                       {"subsample", subsample},
                                       {"pad", pad},
                                       {"pad_channels", pad_channels},
                                       {"concat", concat},
                                       {"expand", expand},
                                       {"roll", roll},
                                       {"flip", flip},
                                       {"channel_shuffle", channel_shuffle},
                                       {"window_partition", window_partition},
                                       {"window_reverse", window_reverse}};

}  // namespace
}  // namespace vtrain
