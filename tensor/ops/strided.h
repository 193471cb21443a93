#pragma once
// How CPU kernels walk broadcast or strided operands: rows along the last axis, in logical order.
#include <cstdint>
#include <type_traits>

#include "tensor/bfloat16.h"
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

/// An element in another type; bf16 through f32.
template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, BFloat16>) {
    return converted<To>(static_cast<float>(x));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return BFloat16(static_cast<float>(x));
  } else {
    return static_cast<To>(x);
  }
}

}  // namespace vtrain
