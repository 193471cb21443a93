#include "compress/parts/helper_adam.h"

#include "tensor/ops/optimize.h"

namespace vtrain {

HelperAdam::HelperAdam(std::vector<Parameter> parameters, const HelperAdamOptions& options)
    : parameters_(std::move(parameters)),
      updates_(add("updates", Parameter({1}, Init::zeros(), /*is_buffer=*/true))),
      options_(options) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Shape& shape = parameters_[i].value().shape();
    means_.push_back(add(str("exp_avg.", i), Parameter(shape, Init::zeros(), /*is_buffer=*/true)));
    squares_.push_back(
        add(str("exp_avg_sq.", i), Parameter(shape, Init::zeros(), /*is_buffer=*/true)));
  }
}

void HelperAdam::step() {
  std::vector<AdamwTensors> tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (!p.grad().defined()) continue;
    tensors.push_back({.parameter = p.value(),
                       .grad = p.grad().contiguous(),
                       .exp_avg = means_[i].value(),
                       .exp_avg_sq = squares_[i].value()});
    p.clear_grad();
  }
  if (tensors.empty()) return;
  const double updates = updates_.value().item() + 1;
  updates_.set(full({1}, updates));
  adamw_update(tensors, {.lr = options_.lr,
                         .beta1 = options_.beta1,
                         .beta2 = options_.beta2,
                         .eps = options_.eps,
                         .step = static_cast<int64_t>(updates)});
}

}  // namespace vtrain
