#pragma once

#include "autograd/variable.h"
#include "tensor/ops/activation_kind.h"

namespace vtrain {

/// f(x), element by element, in f32, f64 or bf16: tensor/ops/activation_kind.h. The trace names the
/// op as the list there does.
Variable activation(ActivationKind kind, const Variable& x);
Variable leaky_relu(const Variable& x, double slope);

}  // namespace vtrain
