#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

using Shape = std::vector<int64_t>;

int64_t numel_of(const Shape& shape);
Shape contiguous_strides(const Shape& shape);
/// Strides of an (N, C, H, W) image whose memory runs over channels first: images are kept so.
Shape channels_last_strides(const Shape& shape);

/// A value handle on shared storage: copies share elements, `clone` does not. Logical order is (N,
/// C, H, W) and (N, L, C); memory order is what the strides say (in elements).
class Tensor {
 public:
  Tensor() = default;  // undefined

  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor empty_channels_last(const Shape& nchw, DType dtype = DType::f32,
                                    Device device = {});

  /// A tensor on memory that another owns or shares; `memory` is its first element.
  static Tensor of_memory(std::shared_ptr<std::byte> memory, const Shape& shape,
                          const Shape& strides, DType dtype, Device device = {});

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  int ndim() const { return static_cast<int>(shape_.size()); }
  int64_t dim(int i) const;  // i in [-ndim, ndim); throws ShapeError
  int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  int64_t bytes() const { return numel_ * static_cast<int64_t>(size_of(dtype_)); }

  bool is_contiguous() const;     // row-major in logical order
  bool is_channels_last() const;  // 4-d, memory runs (N, H, W, C)
  bool is_dense() const;          // contiguous or channels last: elements fill memory without holes

  /// First element, an address of the device: only its kernels follow it. T must match dtype(),
  /// else ShapeError.
  template <class T>
  const T* data() const {
    check_dtype(DTypeOf<T>::value);
    return reinterpret_cast<const T*>(raw());
  }
  template <class T>
  T* data() {
    check_dtype(DTypeOf<T>::value);
    return reinterpret_cast<T*>(raw());
  }
  const std::byte* raw() const {
    return storage_->data.get() + offset_ * static_cast<int64_t>(size_of(dtype_));
  }
  std::byte* raw() {
    return storage_->data.get() + offset_ * static_cast<int64_t>(size_of(dtype_));
  }

  /// Views on the same storage.
  Tensor view(const Shape& shape, const Shape& strides,
              int64_t offset) const;  // offset from this tensor's first element
  Tensor transpose(int a, int b) const;
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  Tensor select(int axis, int64_t index) const;  // drops the axis
  Tensor unsqueeze(int axis) const;
  /// A view where strides allow one, else a copy. One extent may be -1.
  Tensor reshape(Shape shape) const;

  Tensor contiguous() const;  // itself if it is contiguous
  Tensor channels_last() const;
  Tensor clone() const;  // own storage, same memory order
  Tensor to(DType dtype) const;
  Tensor to(Device device) const;

  /// In-place edits raise the storage's version, so that backward can refuse a saved value that
  /// changed since.
  void copy_from(const Tensor& source);  // same shape; from any dtype and device
  void fill(double value);
  uint64_t version() const { return storage_->version; }
  void bump_version() { ++storage_->version; }
  bool shares_storage_with(const Tensor& other) const { return storage_ == other.storage_; }
  /// Nothing else can see an edit: no other handle or view, and no other owner of the memory.
  bool is_sole_owner() const {
    return storage_.use_count() == 1 && storage_->data.use_count() == 1;
  }

  double item() const;                    // of a one-element tensor
  std::vector<double> to_vector() const;  // in logical order
  std::string text() const;               // "f32 (2, 3) on cpu"

 private:
  struct Storage {
    std::shared_ptr<std::byte> data;
    uint64_t version = 0;
  };
  void check_dtype(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  Shape shape_, strides_;
  int64_t offset_ = 0;  // in elements
  int64_t numel_ = 0;
  DType dtype_ = DType::f32;
  Device device_;
};

Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {});
Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = {});
Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = {});
Tensor empty_like(const Tensor& x);  // same memory order if dense
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
/// From host values in logical order; the count must match.
Tensor from_values(const Shape& shape, std::span<const double> values, DType dtype = DType::f32,
                   Device device = {});
Tensor from_values(const Shape& shape, std::initializer_list<double> values,
                   DType dtype = DType::f32, Device device = {});

/// `dim` in [-ndim, ndim) as an axis in [0, ndim); else ShapeError "[op] dim: expected -2..1 for
/// shape (2, 3), got 2".
int checked_dim(const char* op, int dim, const Shape& shape);
void check_same_shape(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b);
void check_floating(const char* op, const char* name, const Tensor& x);
void check_real(const char* op, const char* name, const Tensor& x);  // bf16 too
void check_same_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b);

/// b has wide_of(a's dtype).
void check_wide_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                      const Tensor& b);

}  // namespace vtrain
