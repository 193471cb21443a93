#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// z = a (op) b, element by element, with NumPy's broadcasting: shapes are aligned at the right,
/// extents of 1 repeat.
///   a, b  f32 or f64, one dtype and device       z  of the broadcast shape
/// Throws ShapeError if the shapes do not broadcast. A double stands for a one-element tensor.
Tensor add(const Tensor& a, const Tensor& b);
Tensor subtract(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor divide(const Tensor& a, const Tensor& b);
Tensor add(const Tensor& a, double b);
Tensor multiply(const Tensor& a, double b);

/// y += x, shapes equal: gradients of a value that is used twice.
void accumulate(Tensor& y, const Tensor& x);

/// The shape that a and b broadcast to.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide };
struct BinaryKernels {
  Tensor (*apply)(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape);
  void (*accumulate)(Tensor& y, const Tensor& x);
};
inline constinit PerDevice<BinaryKernels> binary_kernels{"binary"};

}  // namespace vtrain
