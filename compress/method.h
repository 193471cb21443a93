#pragma once

#include <string>

#include "compress/archive.h"
#include "compress/run.h"
#include "compress/step.h"

namespace vtrain {

/// A compression technique: what it does to one phase of a training run. One object serves one
/// phase; it is made anew on resume and filled by `state`. A method overrides only the hooks it
/// uses; the calls come in this order:
///
///     attach; start, or on resume state; per step: before_forward, loss, after_backward,
///     after_update; finish
class Method {
 public:
  Method() = default;
  virtual ~Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;

  /// Plain members that change during training; one function saves and loads. What is cut, large or
  /// trained is a helper of Run.
  virtual void state(Archive&) {}
  /// Finds modules, adds helpers, hooks and groups: a function of knobs and structure. No data, no
  /// edits; runs again on resume, when `state` has not filled the members yet: what depends on them
  /// is asked for inside the hooks.
  virtual void attach(Run&) {}
  /// Once per phase, never on resume: calibrate, score, first prune.
  virtual void start(Run&) {}
  /// Before every forward pass, evaluation included: clears scratch, sets what follows the
  /// schedule.
  virtual void before_forward(Run&, const Pass&) {}
  /// Adds named terms; at most one method of a phase replaces the task loss.
  virtual void loss(Step&) {}
  /// Gradients are there, averaged over micro-batches, not yet clipped.
  virtual void after_backward(Step&) {}
  /// Weights have moved. Before EMA, validation and checkpoint.
  virtual void after_update(Step&) {}
  /// Whether the method has reached what it was asked for. Until then `use: best` takes no epoch: a
  /// network that is half pruned is the better one and not the wanted one.
  virtual bool is_settled() const { return true; }
  /// End of the phase: hooks become weights or permanent modules, helpers are dropped, rows for the
  /// report are added.
  virtual void finish(Run&) {}
};

}  // namespace vtrain
