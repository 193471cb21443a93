#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// y like x; kept (u8, x's shape and memory order): 1 where an element stayed.
struct DropoutOutput {
  Tensor y, kept;
};

/// y = x / (1 - rate) where noise >= rate, else 0: inverted dropout. Srivastava et al., "Dropout: A
/// Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
///   x      f32, f64 or bf16, any shape
///   noise  f32, x's shape, uniform in (0, 1): read by logical index, whatever x's memory order
///   rate   in [0, 1)
/// Throws ShapeError.
DropoutOutput dropout(const Tensor& x, const Tensor& noise, double rate);
/// dx = dy / (1 - rate) where `kept`, else 0.
Tensor dropout_grad(const Tensor& dy, const Tensor& kept, double rate);

struct DropoutKernels {  // on dense tensors of one memory order
  DropoutOutput (*forward)(const Tensor& x, const Tensor& noise, double rate);
  Tensor (*grad)(const Tensor& dy, const Tensor& kept, double rate);
};
inline constinit PerDevice<DropoutKernels> dropout_kernels{"dropout"};

}  // namespace vtrain
