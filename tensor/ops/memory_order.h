#pragma once

#include "tensor/tensor.h"

namespace vtrain {

/// `x`, or a copy if its elements do not fill memory without holes.
inline Tensor dense(const Tensor& x) { return x.is_dense() ? x : x.contiguous(); }

/// `x` with its elements in the memory order of `like`, a dense tensor of the same shape; a copy
/// where they are not.
inline Tensor in_order_of(const Tensor& like, const Tensor& x) {
  if (x.strides() == like.strides()) return x;
  Tensor y = like.is_contiguous() ? Tensor::empty(x.shape(), x.dtype(), x.device())
                                  : Tensor::empty_channels_last(x.shape(), x.dtype(), x.device());
  y.copy_from(x);
  return y;
}

}  // namespace vtrain
