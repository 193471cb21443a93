// AdamW: Adam with weight decay kept out of the moments. Loshchilov, Hutter, "Decoupled Weight
// Decay Regularization", ICLR 2019, arXiv:1711.05101, in PyTorch's form:
//   p -= lr wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr (m / (1 - b1^t)) /
//   (sqrt(v / (1 - b2^t)) + eps)
#include <map>

#include "nn/optim/optimizer.h"
#include "tensor/ops/optimize.h"

namespace vtrain {
namespace {

class AdamW final : public Optimizer {
 public:
  explicit AdamW(Recipe& r)
      : beta1_(r.real("beta1", 0.9, in(0, 0.999999), "decay of the mean of gradients")),
        beta2_(r.real("beta2", 0.999, in(0, 0.999999), "decay of the mean of squared gradients")),
        eps_(r.real("eps", 1e-8, above(0), "added to the root of the second moment")),
        weight_decay_(r.real("weight_decay", 0.05, at_least(0), "decoupled weight decay")) {}

  void step(const std::vector<ParameterGroup>& groups, double lr, double grad_scale) override {
    std::map<int64_t, std::vector<AdamwTensors>>
        by_age;  // a helper that joined later has its own bias correction
    for (const ParameterGroup& group : groups) {
      for (const Parameter& p : group.parameters) {
        if (p.is_frozen() || !p.grad().defined()) continue;
        Slots& own = slots(p, {"exp_avg", "exp_avg_sq"});
        ++own.steps;
        by_age[own.steps].push_back(
            {.parameter = p.value(),
             .grad = p.grad().contiguous(),
             .exp_avg = own.tensors["exp_avg"],
             .exp_avg_sq = own.tensors["exp_avg_sq"],
             .lr_scale = group.lr_scale,
             .weight_decay = group.weight_decay.value_or(is_undecayed(p) ? 0 : weight_decay_)});
      }
    }
    for (auto& [age, tensors] : by_age) {
      adamw_update(tensors, {.lr = lr,
                             .beta1 = beta1_,
                             .beta2 = beta2_,
                             .eps = eps_,
                             .step = age,
                             .grad_scale = grad_scale});
    }
  }

 private:
  double beta1_, beta2_, eps_, weight_decay_;
};

const RegisteredOptimizer registered("adamw", "Adam with decoupled weight decay, arXiv:1711.05101",
                                     [](Recipe& r) { return std::make_unique<AdamW>(r); });

}  // namespace
}  // namespace vtrain
