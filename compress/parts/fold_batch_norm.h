#pragma once

#include "tensor/tensor.h"

namespace vtrain {

/// What a batch normalisation with fixed statistics computes with, (O) each.
struct BatchNormConstants {
  Tensor weight, bias, mean, var;
  double eps = 1e-5;
};

/// A convolution or linear layer that includes the normalisation behind it.
struct FoldedLayer {
  Tensor weight;  // like the layer's
  Tensor bias;    // (O)
};

/// With a = bn.weight / sqrt(var + eps), per output channel:  weight * a,  (bias - mean) * a +
/// bn.bias. Computed in double, rounded once.
///   weight (O, ...), bias (O) or undefined, f32 or f64
FoldedLayer fold_batch_norm(const Tensor& weight, const Tensor& bias, const BatchNormConstants& bn);

}  // namespace vtrain
