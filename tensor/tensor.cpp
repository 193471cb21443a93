#include "tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "tensor/allocator.h"
#include "tensor/convert.h"
#include "tensor/dispatch.h"
#include "tensor/parallel.h"

namespace vtrain {

int64_t numel_of(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t extent : shape) n *= extent;
  return n;
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

Shape channels_last_strides(const Shape& s) { return {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]}; }

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  for (const int64_t extent : shape) {
    if (extent < 0) throw ShapeError(str("[empty] shape ", shape, ": an extent is negative"));
  }
  Tensor t;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  t.numel_ = numel_of(shape);
  t.dtype_ = dtype;
  t.device_ = device;
  t.storage_ = std::make_shared<Storage>();
  if (device.type != DeviceType::cpu())
    throw DeviceError(str("[empty] no memory on device ", device.text()));
  t.storage_->data = allocate_cpu(static_cast<size_t>(std::max<int64_t>(t.bytes(), 1)));
  return t;
}

Tensor Tensor::empty_channels_last(const Shape& nchw, DType dtype, Device device) {
  if (nchw.size() != 4)
    throw ShapeError(str("[empty] shape ", nchw, ": channels last needs (N, C, H, W)"));
  Tensor t = empty(nchw, dtype, device);
  t.strides_ = channels_last_strides(nchw);
  return t;
}

int64_t Tensor::dim(int i) const {
  return shape_[static_cast<size_t>(checked_dim("dim", i, shape_))];
}

bool Tensor::is_contiguous() const {
  int64_t expected = 1;
  for (size_t i = shape_.size(); i-- > 0;) {
    if (shape_[i] != 1 && strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

bool Tensor::is_channels_last() const {
  if (shape_.size() != 4) return false;
  const Shape wanted = channels_last_strides(shape_);
  for (size_t i = 0; i < 4; ++i) {
    if (shape_[i] != 1 && strides_[i] != wanted[i]) return false;
  }
  return true;
}

bool Tensor::is_dense() const { return is_contiguous() || is_channels_last(); }

void Tensor::check_dtype(DType wanted) const {
  if (!defined()) throw ShapeError("[data] the tensor is undefined");
  if (dtype_ != wanted)
    throw ShapeError(str("[data] expected ", name_of(wanted), ", got ", text()));
}

Tensor Tensor::view(const Shape& shape, const Shape& strides, int64_t offset) const {
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = strides;
  t.numel_ = numel_of(shape);
  t.offset_ = offset_ + offset;
  return t;
}

Tensor Tensor::transpose(int a, int b) const {
  Tensor t = *this;
  const auto i = static_cast<size_t>(checked_dim("transpose", a, shape_));
  const auto j = static_cast<size_t>(checked_dim("transpose", b, shape_));
  std::swap(t.shape_[i], t.shape_[j]);
  std::swap(t.strides_[i], t.strides_[j]);
  return t;
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  const auto i = static_cast<size_t>(checked_dim("slice", axis, shape_));
  if (begin < 0 || end < begin || end > shape_[i]) {
    throw ShapeError(str("[slice] range: expected 0 <= begin <= end <= ", shape_[i], " along axis ",
                         i, " of ", shape_, ", got ", begin, "..", end));
  }
  Shape shape = shape_;
  shape[i] = end - begin;
  return view(shape, strides_, begin * strides_[i]);
}

Tensor Tensor::select(int axis, int64_t index) const {
  const auto i = static_cast<size_t>(checked_dim("select", axis, shape_));
  const Tensor one = slice(axis, index, index + 1);
  Shape shape = one.shape_, strides = one.strides_;
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(i));
  strides.erase(strides.begin() + static_cast<std::ptrdiff_t>(i));
  return one.view(shape, strides, 0);
}

Tensor Tensor::unsqueeze(int axis) const {
  if (axis < 0) axis += ndim() + 1;
  if (axis < 0 || axis > ndim())
    throw ShapeError(str("[unsqueeze] axis: expected 0..", ndim(), ", got ", axis));
  Shape shape = shape_, strides = strides_;
  const int64_t stride =
      axis < ndim() ? strides_[static_cast<size_t>(axis)] * shape_[static_cast<size_t>(axis)] : 1;
  shape.insert(shape.begin() + axis, 1);
  strides.insert(strides.begin() + axis, stride);
  return view(shape, strides, 0);
}

namespace {
/// Strides of a view of `shape` on memory laid out as (old_shape, old_strides), or empty if none
/// exists: axes are merged and split in runs that are contiguous in memory.
Shape view_strides(const Shape& old_shape, const Shape& old_strides, const Shape& shape) {
  Shape strides(shape.size(), 1);
  size_t o = old_shape.size(), n = shape.size();
  while (o > 0 || n > 0) {
    if (o > 0 && old_shape[o - 1] == 1) {
      --o;
      continue;
    }
    if (n > 0 && shape[n - 1] == 1) {
      --n;
      continue;
    }
    if (o == 0 || n == 0) return {};
    int64_t old_run = old_shape[--o], new_run = shape[--n];
    int64_t stride = old_strides[o];
    strides[n] = stride;
    int64_t next = stride * new_run;
    while (old_run != new_run) {
      if (new_run < old_run) {
        if (n == 0) return {};
        strides[--n] = next;
        new_run *= shape[n];
        next *= shape[n];
      } else {
        if (o == 0) return {};
        --o;
        if (old_shape[o] == 1) continue;
        if (old_strides[o] != stride * old_run) return {};
        old_run *= old_shape[o];
      }
    }
  }
  return strides;
}
}  // namespace

Tensor Tensor::reshape(Shape shape) const {
  int64_t known = 1;
  int open = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open < 0) {
      open = static_cast<int>(i);
    } else {
      known *= shape[i];
    }
  }
  if (open >= 0 && known > 0) shape[static_cast<size_t>(open)] = numel_ / known;
  if (numel_of(shape) != numel_) {
    throw ShapeError(str("[reshape] shape ", shape, ": expected ", numel_, " elements for x ",
                         shape_, ", got ", numel_of(shape)));
  }
  if (is_contiguous() || numel_ == 0) return view(shape, contiguous_strides(shape), 0);
  const Shape strides = view_strides(shape_, strides_, shape);
  if (!strides.empty() || shape.empty()) return view(shape, strides, 0);
  return contiguous().reshape(shape);
}

Tensor Tensor::contiguous() const {
  if (is_contiguous()) return *this;
  Tensor t = empty(shape_, dtype_, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::channels_last() const {
  if (is_channels_last()) return *this;
  Tensor t = empty_channels_last(shape_, dtype_, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty_like(*this);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t = is_channels_last() && !is_contiguous() ? empty_channels_last(shape_, dtype, device_)
                                                    : empty(shape_, dtype, device_);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  throw DeviceError(str("[to] no copy from ", device_.text(), " to ", device.text()));
}

namespace {
/// Calls row(destination offset, source offset) for every run along the last axis, in logical
/// order.
template <class Row>
void for_each_row(const Shape& shape, const Shape& a, const Shape& b, const Row& row) {
  if (shape.empty()) return row(0, 0);
  const size_t outer = shape.size() - 1;
  Shape index(outer, 0);
  int64_t ia = 0, ib = 0;
  for (;;) {
    row(ia, ib);
    size_t axis = outer;
    for (; axis > 0; --axis) {
      const size_t i = axis - 1;
      ia += a[i];
      ib += b[i];
      if (++index[i] < shape[i]) break;
      ia -= a[i] * shape[i];
      ib -= b[i] * shape[i];
      index[i] = 0;
    }
    if (axis == 0) return;
  }
}

/// The same for the rows below each index of the first axis, shared among threads: moving rows is
/// bound by memory, which one core does not use up.
template <class Row>
void for_each_row_in_parallel(const Shape& shape, const Shape& a, const Shape& b, const Row& row) {
  if (shape.size() < 2) return for_each_row(shape, a, b, row);
  const int64_t inner = numel_of(shape) / std::max<int64_t>(shape[0], 1);
  parallel_for(shape[0], std::max<int64_t>(1, 32768 / std::max<int64_t>(inner, 1)),
               [&](int64_t begin, int64_t end) {
                 Shape part = shape;
                 part[0] = end - begin;
                 for_each_row(part, a, b, [&](int64_t ia, int64_t ib) {
                   row(ia + begin * a[0], ib + begin * b[0]);
                 });
               });
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, BFloat16>) {
    return convert<To>(static_cast<float>(x));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return BFloat16(static_cast<float>(x));
  } else {
    return static_cast<To>(x);
  }
}

/// n elements that are neighbours in both arrays.
template <class To, class From>
void convert_run(const From* from, To* to, int64_t n) {
  if constexpr (std::is_same_v<To, From>) {
    std::copy_n(from, n, to);
  } else if constexpr (std::is_same_v<To, float> && std::is_same_v<From, BFloat16>) {
    widen(from, to, n);
  } else if constexpr (std::is_same_v<To, BFloat16> && std::is_same_v<From, float>) {
    narrow(from, to, n);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = convert<To>(from[i]);
  }
}

/// How two tensors of one shape are walked together: axes without extents of 1, and with those
/// merged that are one run in both memories. Their order is the first one's in memory if its
/// neighbours are the other's too, else the logical order: of two bad orders neither is better.
struct Walk {
  Shape shape, a, b;
  Walk(const Shape& full, const Shape& stride_a, const Shape& stride_b) {
    std::vector<size_t> axes;
    bool shares_neighbours = false;
    for (size_t i = 0; i < full.size(); ++i) {
      if (full[i] == 1) continue;
      axes.push_back(i);
      shares_neighbours |= stride_a[i] == 1 && stride_b[i] == 1;
    }
    if (shares_neighbours) {
      std::stable_sort(axes.begin(), axes.end(),
                       [&](size_t i, size_t j) { return stride_a[i] > stride_a[j]; });
    }
    for (const size_t i : axes) {
      if (!shape.empty() && a.back() == stride_a[i] * full[i] &&
          b.back() == stride_b[i] * full[i]) {
        shape.back() *= full[i];
        a.back() = stride_a[i];
        b.back() = stride_b[i];
      } else {
        shape.push_back(full[i]);
        a.push_back(stride_a[i]);
        b.push_back(stride_b[i]);
      }
    }
  }
  bool is_one_run() const { return shape.empty() || (shape.size() == 1 && a[0] == 1 && b[0] == 1); }
};

constexpr int64_t kRunGrain = 32768;  // elements of a run worth a thread
}  // namespace

void Tensor::copy_from(const Tensor& source) {
  if (shape_ != source.shape_)
    throw ShapeError(str("[copy] source ", source.shape_, ": expected shape ", shape_));
  bump_version();
  if (numel_ == 0) return;
  const Walk walk(shape_, strides_, source.strides_);
  const int64_t count = walk.shape.empty() ? 1 : walk.shape.back();
  const int64_t to_step = walk.shape.empty() ? 1 : walk.a.back(),
                from_step = walk.shape.empty() ? 1 : walk.b.back();
  dispatch_all("copy", dtype_, [&]<class To>(To) {
    dispatch_all("copy", source.dtype_, [&]<class From>(From) {
      To* const to = data<To>();
      const From* const from = source.data<From>();
      if (walk.is_one_run()) {
        parallel_for(count, kRunGrain, [&](int64_t begin, int64_t end) {
          convert_run(from + begin, to + begin, end - begin);
        });
        return;
      }
      for_each_row_in_parallel(walk.shape, walk.a, walk.b, [&](int64_t a, int64_t b) {
        if (to_step == 1 && from_step == 1) return convert_run(from + b, to + a, count);
        for (int64_t i = 0; i < count; ++i) {
          to[a + i * to_step] = convert<To>(from[b + i * from_step]);
        }
      });
    });
  });
}

void Tensor::fill(double value) {
  bump_version();
  if (numel_ == 0) return;
  const Walk walk(shape_, strides_, strides_);
  const int64_t count = walk.shape.empty() ? 1 : walk.shape.back(),
                step = walk.shape.empty() ? 1 : walk.a.back();
  dispatch_all("fill", dtype_, [&]<class T>(T) {
    T* const to = data<T>();
    const T v = convert<T>(value);
    if (walk.is_one_run()) {
      parallel_for(count, kRunGrain,
                   [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, v); });
      return;
    }
    for_each_row_in_parallel(walk.shape, walk.a, walk.b, [&](int64_t a, int64_t) {
      for (int64_t i = 0; i < count; ++i) to[a + i * step] = v;
    });
  });
}

double Tensor::item() const {
  if (numel_ != 1) throw ShapeError(str("[item] x ", shape_, ": expected one element"));
  return to_vector()[0];
}

std::vector<double> Tensor::to_vector() const {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(numel_));
  if (numel_ == 0) return values;
  dispatch_all("to_vector", dtype_, [&]<class T>(T) {
    const T* const from = data<T>();
    const int64_t count = shape_.empty() ? 1 : shape_.back(),
                  step = shape_.empty() ? 1 : strides_.back();
    for_each_row(shape_, strides_, strides_, [&](int64_t a, int64_t) {
      for (int64_t i = 0; i < count; ++i) values.push_back(convert<double>(from[a + i * step]));
    });
  });
  return values;
}

std::string Tensor::text() const {
  return defined() ? str(name_of(dtype_), ' ', shape_, " on ", device_.text()) : "undefined";
}

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  t.fill(value);
  return t;
}
Tensor zeros(const Shape& shape, DType dtype, Device device) {
  return full(shape, 0, dtype, device);
}
Tensor ones(const Shape& shape, DType dtype, Device device) {
  return full(shape, 1, dtype, device);
}

Tensor empty_like(const Tensor& x) {
  if (x.is_channels_last() && !x.is_contiguous())
    return Tensor::empty_channels_last(x.shape(), x.dtype(), x.device());
  return Tensor::empty(x.shape(), x.dtype(), x.device());
}
Tensor zeros_like(const Tensor& x) {
  Tensor t = empty_like(x);
  t.fill(0);
  return t;
}
Tensor ones_like(const Tensor& x) {
  Tensor t = empty_like(x);
  t.fill(1);
  return t;
}

Tensor from_values(const Shape& shape, std::span<const double> values, DType dtype, Device device) {
  Tensor t = Tensor::empty(shape, dtype, device);
  if (static_cast<int64_t>(values.size()) != t.numel()) {
    throw ShapeError(str("[from_values] shape ", shape, ": expected ", t.numel(), " values, got ",
                         values.size()));
  }
  dispatch_all("from_values", dtype, [&]<class T>(T) {
    T* const to = t.data<T>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = convert<T>(values[i]);
  });
  return t;
}
Tensor from_values(const Shape& shape, std::initializer_list<double> values, DType dtype,
                   Device device) {
  return from_values(shape, std::span<const double>(values.begin(), values.size()), dtype, device);
}

int checked_dim(const char* op, int dim, const Shape& shape) {
  const int n = static_cast<int>(shape.size());
  if (dim < -n || dim >= n)
    throw ShapeError(
        str('[', op, "] dim: expected ", -n, "..", n - 1, " for shape ", shape, ", got ", dim));
  return dim < 0 ? dim + n : dim;
}

void check_same_shape(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b) {
  if (a.shape() != b.shape()) {
    throw ShapeError(str('[', op, "] ", b_name, ' ', b.shape(), ": expected the shape of ", a_name,
                         ' ', a.shape()));
  }
}

void check_floating(const char* op, const char* name, const Tensor& x) {
  if (!x.defined()) throw ShapeError(str('[', op, "] ", name, ": is undefined"));
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) {
    throw ShapeError(str('[', op, "] ", name, ": expected f32 or f64, got ", x.text()));
  }
}

void check_real(const char* op, const char* name, const Tensor& x) {
  if (!x.defined()) throw ShapeError(str('[', op, "] ", name, ": is undefined"));
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64 && x.dtype() != DType::bf16) {
    throw ShapeError(str('[', op, "] ", name, ": expected f32, f64 or bf16, got ", x.text()));
  }
}

void check_same_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b) {
  if (a.dtype() != b.dtype()) {
    throw ShapeError(str('[', op, "] ", b_name, ": expected ", name_of(a.dtype()), " like ", a_name,
                         ", got ", b.text()));
  }
}

void check_wide_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b) {
  if (b.dtype() != wide_of(a.dtype())) {
    throw ShapeError(str('[', op, "] ", b_name, ": expected ", name_of(wide_of(a.dtype())),
                         " beside ", a_name, ' ', name_of(a.dtype()), ", got ", b.text()));
  }
}

}  // namespace vtrain
