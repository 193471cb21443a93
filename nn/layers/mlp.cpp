#include "nn/layers/mlp.h"

namespace vtrain {

Mlp::Mlp(int64_t dim, int64_t hidden_dim) : fc1_(dim, hidden_dim), fc2_(hidden_dim, dim) {
  add("fc1", fc1_);  // the path in recipes and checkpoints: blocks.3.mlp.fc1.weight
  add("act", act_);
  add("fc2", fc2_);
}

Variable Mlp::forward(const Variable& x, const Pass& pass) {
  return fc2_(act_(fc1_(x, pass), pass), pass);
}

}  // namespace vtrain
