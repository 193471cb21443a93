#pragma once

#include <string>
#include <utility>
#include <vector>

#include "compress/run.h"
#include "tensor/batch.h"

namespace vtrain {

/// One training step: what the pass gave, and the loss that methods put together. Shared by the
/// methods of a phase.
struct StepState {
  const Pass& pass;
  const Batch& batch;
  const Outputs& outputs;
  bool ends_epoch = false;  // the last update of an epoch
  double lr = 0;            // of this update

  Variable task;                    // computed when first read
  const Run* task_owner = nullptr;  // who replaced it
  std::vector<std::pair<std::string, Variable>> terms;

  /// Task and terms, summed in the order they came.
  Variable total();
};

/// The step as one method sees it.
class Step {
 public:
  Step(Run& run, StepState& state) : run_(run), state_(state) {}

  Run& run() const { return run_; }
  const Pass& pass() const { return state_.pass; }
  const Batch& batch() const { return state_.batch; }
  bool ends_epoch() const { return state_.ends_epoch; }
  double lr() const { return state_.lr; }
  const Variable& logits() const { return state_.outputs.logits; }

  /// The task loss: mean cross entropy of the logits with the batch's soft targets.
  const Variable& task() const;
  /// Replaces the task loss; throws RecipeError if another method did so already.
  void set_task(const Variable& loss) const;
  /// A further term, as it enters the sum. Logged under "<method>.<name>".
  void add_loss(const std::string& name, const Variable& loss) const;

 private:
  Run& run_;
  StepState& state_;
};

}  // namespace vtrain
