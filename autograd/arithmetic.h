#pragma once

#include "autograd/variable.h"

namespace vtrain {

/// Element-wise arithmetic with broadcasting (tensor/ops/binary.h, which also says what bf16 beside
/// f32 gives); gradients are summed over what was repeated.
Variable operator+(const Variable& a, const Variable& b);
Variable operator-(const Variable& a, const Variable& b);
Variable operator*(const Variable& a, const Variable& b);
Variable operator/(const Variable& a, const Variable& b);
Variable operator+(const Variable& a, double b);
Variable operator-(const Variable& a, double b);
Variable operator*(double a, const Variable& b);
Variable operator*(const Variable& a, double b);
Variable operator/(const Variable& a, double b);
Variable operator-(const Variable& a);

Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable sqrt(const Variable& x);
Variable square(const Variable& x);
Variable sigmoid(const Variable& x);
Variable relu(const Variable& x);   // gradient 0 at 0
Variable relu6(const Variable& x);  // min(max(x, 0), 6); gradient 1 for 0 < x < 6, else 0

/// Sum and mean over `dims` (all if empty), in f32 for bf16.
Variable sum(const Variable& x, const std::vector<int>& dims = {}, bool keep_dims = false);
Variable mean(const Variable& x, const std::vector<int>& dims = {}, bool keep_dims = false);

}  // namespace vtrain
