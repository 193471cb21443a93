#pragma once

#include "nn/layers/gelu.h"
#include "nn/layers/linear.h"

namespace vtrain {

/// The feed-forward half of a transformer block: fc2(gelu(fc1(x))).
/// Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, eq. 3.
///   x (N, L, dim) -> (N, L, dim)
class Mlp final : public Module {
 public:
  Mlp(int64_t dim, int64_t hidden_dim);
  Variable forward(const Variable& x, const Pass& pass) override;

 private:
  Linear fc1_, fc2_;
  Gelu act_;
};

}  // namespace vtrain
