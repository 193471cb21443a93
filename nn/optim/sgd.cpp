// Stochastic gradient descent with momentum, in PyTorch's form: weight decay is added to the
// gradient.
//   d = g + wd p;  b = mu b + d;  p -= lr (nesterov ? d + mu b : b)
#include "nn/optim/optimizer.h"
#include "tensor/ops/optimize.h"

namespace vtrain {
namespace {

class Sgd final : public Optimizer {
 public:
  explicit Sgd(Recipe& r)
      : momentum_(
            r.real("momentum", 0.9, in(0, 0.999999), "share of the last update that is repeated")),
        nesterov_(r.flag("nesterov", false, "look ahead along the momentum")),
        weight_decay_(
            r.real("weight_decay", 5e-4, at_least(0), "weight decay, added to the gradient")) {}

  void step(const std::vector<ParameterGroup>& groups, double lr, double grad_scale) override {
    std::vector<SgdTensors> tensors;
    for (const ParameterGroup& group : groups) {
      for (const Parameter& p : group.parameters) {
        if (p.is_frozen() || !p.grad().defined()) continue;
        Slots& own = slots(p, {"momentum_buffer"});
        ++own.steps;
        tensors.push_back(
            {.parameter = p.value(),
             .grad = p.grad().contiguous(),
             .momentum_buffer = own.tensors["momentum_buffer"],
             .lr_scale = group.lr_scale,
             .weight_decay = group.weight_decay.value_or(is_undecayed(p) ? 0 : weight_decay_)});
      }
    }
    sgd_update(tensors,
               {.lr = lr, .momentum = momentum_, .nesterov = nesterov_, .grad_scale = grad_scale});
  }

 private:
  double momentum_;
  bool nesterov_;
  double weight_decay_;
};

const RegisteredOptimizer registered("sgd", "SGD with momentum, optionally Nesterov's",
                                     [](Recipe& r) { return std::make_unique<Sgd>(r); });

}  // namespace
}  // namespace vtrain
