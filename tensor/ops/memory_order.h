#pragma once

#include "tensor/tensor.h"

namespace vtrain {

/// `x`, or a copy if its elements do not fill memory without holes.
inline Tensor dense(const Tensor& x) { return x.is_dense() ? x : x.contiguous(); }

/// How the elements of a dense tensor lie, for when it is gone.
class MemoryOrder {
 public:
  explicit MemoryOrder(const Tensor& like)
      : strides_(like.strides()), is_contiguous_(like.is_contiguous()) {}
  bool is_of(const Tensor& x) const { return x.strides() == strides_; }
  /// Of x, of the same shape.
  Tensor copy(const Tensor& x) const {
    Tensor y = is_contiguous_ ? Tensor::empty(x.shape(), x.dtype(), x.device())
                              : Tensor::empty_channels_last(x.shape(), x.dtype(), x.device());
    y.copy_from(x);
    return y;
  }

 private:
  Shape strides_;
  bool is_contiguous_;
};

/// `x` with its elements in the memory order of `like`, a dense tensor of the same shape; a copy
/// where they are not.
inline Tensor in_order_of(const Tensor& like, const Tensor& x) {
  return x.strides() == like.strides() ? x : MemoryOrder(like).copy(x);
}

}  // namespace vtrain
