#include "compress/parts/soft_targets.h"

#include "autograd/arithmetic.h"
#include "autograd/losses.h"

namespace vtrain {

Variable soft_target_loss(const Tensor& teacher, const Variable& student, const SoftTargets& how) {
  const Variable divergence = mean(kl_divergence(teacher, student, how.temperature));
  return how.scales_t2 ? how.temperature * how.temperature * divergence : divergence;
}

void weigh_task(const Step& step, double weight) {
  if (weight != 1) step.set_task(weight * step.task());
}

std::string description_of(Network& network) {
  return str(network.architecture().model, ", ", network.parameter_count(), " parameters");
}

}  // namespace vtrain
