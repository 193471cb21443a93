#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// z = a (op) b, element by element, with NumPy's broadcasting: shapes are aligned at the right,
/// extents of 1 repeat.
///   a, b  f32, f64 or bf16, on one device; one dtype, or bf16 beside f32
///   z     of the broadcast shape
/// bf16 computes in f32 and is rounded once. Beside f32 the result is f32, as in PyTorch: what is
/// precise stays so, and a layer that wants bf16 again says so with a cast. A scalar (of shape ())
/// widens nothing: z has then the other one's dtype. A double stands for a wide scalar.
/// Throws ShapeError if the shapes do not broadcast.
Tensor add(const Tensor& a, const Tensor& b);
Tensor subtract(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor divide(const Tensor& a, const Tensor& b);
Tensor add(const Tensor& a, double b);
Tensor multiply(const Tensor& a, double b);

/// y += x, shapes and dtypes equal: gradients of a value that is used twice.
void accumulate(Tensor& y, const Tensor& x);

/// The shape that a and b broadcast to.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide };
struct BinaryKernels {
  /// z of `shape` and `dtype`; a and b have that dtype, or one each of bf16 and f32.
  Tensor (*apply)(BinaryOp op, const Tensor& a, const Tensor& b, const Shape& shape, DType dtype);
  void (*accumulate)(Tensor& y, const Tensor& x);
};
inline constinit PerDevice<BinaryKernels> binary_kernels{"binary"};

}  // namespace vtrain
