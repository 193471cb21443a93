#include "compress/step.h"

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"

namespace vtrain {
namespace {
const Variable& task_of(StepState& state) {
  if (!state.task.defined())
    state.task = mean(cross_entropy(state.outputs.logits, state.batch.targets));
  return state.task;
}
}  // namespace

Variable StepState::total() {
  Variable sum = task_of(*this);
  for (const auto& [name, term] : terms) sum = sum + term;
  return sum;
}

const Variable& Step::task() const { return task_of(state_); }

void Step::set_task(const Variable& loss) const {
  if (state_.task_owner != nullptr && state_.task_owner != &run_) {
    throw RecipeError(str("phase ", run_.phase(), ": methods ", state_.task_owner->method(),
                          " and ", run_.method(),
                          " both want to replace the task loss; only one of them can"));
  }
  state_.task_owner = &run_;
  state_.task = loss;
}

void Step::add_loss(const std::string& name, const Variable& loss) const {
  state_.terms.emplace_back(str(run_.method(), '.', name), loss);
}

}  // namespace vtrain
