#include "tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tensor/device_memory.h"
#include "tensor/dispatch.h"
#include "tensor/ops/strided.h"

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
  t.storage_->data = device_memory.on(device).allocate(
      static_cast<size_t>(std::max<int64_t>(t.bytes(), 1)), device.index);
  return t;
}

Tensor Tensor::of_memory(std::shared_ptr<std::byte> memory, const Shape& shape,
                         const Shape& strides, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.strides_ = strides;
  t.numel_ = numel_of(shape);
  t.dtype_ = dtype;
  t.device_ = device;
  t.storage_ = std::make_shared<Storage>();
  t.storage_->data = std::move(memory);
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
  const Device host;
  if (device_ != host && device != host) return to(host).to(device);
  const Tensor source = is_dense() ? *this : contiguous();
  Tensor t = empty(shape_, dtype_, device);
  t.strides_ = source.strides_;
  const auto size = static_cast<size_t>(bytes());
  if (size == 0) return t;
  if (device_ == host) {
    device_memory.on(device).upload(source.raw(), t.raw(), size);
  } else {
    device_memory.on(device_).download(source.raw(), t.raw(), size);
  }
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  if (shape_ != source.shape_)
    throw ShapeError(str("[copy] source ", source.shape_, ": expected shape ", shape_));
  bump_version();
  if (numel_ == 0) return;
  device_memory.on(device_).copy(source.to(device_), *this);
}

void Tensor::fill(double value) {
  bump_version();
  if (numel_ > 0) device_memory.on(device_).fill(*this, value);
}

double Tensor::item() const {
  if (numel_ != 1) throw ShapeError(str("[item] x ", shape_, ": expected one element"));
  return to_vector()[0];
}

std::vector<double> Tensor::to_vector() const {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(numel_));
  if (numel_ == 0) return values;
  if (device_ != Device{}) return to(Device{}).to_vector();
  dispatch_all("to_vector", dtype_, [&]<class T>(T) {
    const T* const from = data<T>();
    const int64_t count = shape_.empty() ? 1 : shape_.back(),
                  step = shape_.empty() ? 1 : strides_.back();
    for_each_row(shape_, strides_, strides_, [&](int64_t a, int64_t) {
      for (int64_t i = 0; i < count; ++i) values.push_back(converted<double>(from[a + i * step]));
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
  Tensor t = Tensor::empty(shape, dtype);
  if (static_cast<int64_t>(values.size()) != t.numel()) {
    throw ShapeError(str("[from_values] shape ", shape, ": expected ", t.numel(), " values, got ",
                         values.size()));
  }
  dispatch_all("from_values", dtype, [&]<class T>(T) {
    T* const to = t.data<T>();
    for (size_t i = 0; i < values.size(); ++i) to[i] = converted<T>(values[i]);
  });
  return t.to(device);
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
