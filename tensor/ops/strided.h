#pragma once
// How CPU kernels walk broadcast or strided operands: rows along the last axis, in logical order.
#include <cstdint>

#include "tensor/tensor.h"

namespace vtrain {

/// Strides with which x is read at `shape`: 0 where it repeats.
inline Shape broadcast_strides(const Tensor& x, const Shape& shape) {
  Shape strides(shape.size(), 0);
  const size_t lead = shape.size() - x.shape().size();
  for (size_t i = 0; i < x.shape().size(); ++i)
    strides[lead + i] = x.shape()[i] == 1 ? 0 : x.strides()[i];
  return strides;
}

/// Offsets of row `row` (an index over all axes but the last) under `strides`.
inline int64_t row_offset(const Shape& shape, const Shape& strides, int64_t row) {
  int64_t offset = 0;
  for (size_t i = shape.size() - 1; i-- > 0;) {
    offset += row % shape[i] * strides[i];
    row /= shape[i];
  }
  return offset;
}

}  // namespace vtrain
