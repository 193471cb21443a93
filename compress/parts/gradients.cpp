#include "compress/parts/gradients.h"

#include <utility>

namespace vtrain {

std::vector<Tensor> gradients(Network& network, const Variable& loss,
                              const std::vector<Parameter>& wanted) {
  std::vector<std::pair<Parameter, Tensor>> held;
  for (const Parameter& p : network.parameters()) {
    held.emplace_back(p, p.grad());
    p.clear_grad();
  }
  backward(loss);
  std::vector<Tensor> all;
  for (const Parameter& p : wanted)
    all.push_back(p.grad().defined() ? p.grad() : zeros_like(p.value()));
  for (const auto& [p, grad] : held) p.set_grad(grad);
  return all;
}

}  // namespace vtrain
