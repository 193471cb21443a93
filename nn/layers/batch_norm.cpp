#include "nn/layers/batch_norm.h"

#include "autograd/batch_norm.h"
#include "autograd/trace.h"
#include "nn/hooks.h"

namespace vtrain {
namespace {

/// Nobody but its neighbours sees what goes in and out of the module.
bool is_unseen(const Module& module, const Pass& pass) {
  return !module.part("in") && !module.part("out") &&
         !(pass.hooks && pass.hooks->at(module.path()));
}

/// Nobody sees what goes in, or computes it otherwise; what comes out may be changed.
bool is_entered_unseen(const Module& module, const Pass& pass) {
  const Hooks::AtModule* const hooks = pass.hooks ? pass.hooks->at(module.path()) : nullptr;
  return !module.part("in") && (hooks == nullptr || (hooks->in.empty() && hooks->in_taps.empty() &&
                                                     hooks->wraps.empty()));
}

}  // namespace

BatchNorm2d::BatchNorm2d(int64_t channels, double eps, double momentum)
    : eps_(eps),
      momentum_(momentum),
      weight_(add("weight", Parameter({channels}, Init::ones()))),
      bias_(add("bias", Parameter({channels}, Init::zeros()))),
      running_mean_(add("running_mean", Parameter({channels}, Init::zeros(), /*is_buffer=*/true))),
      running_var_(add("running_var", Parameter({channels}, Init::ones(), /*is_buffer=*/true))) {}

Variable BatchNorm2d::run(const Variable& x, const Variable& residual,
                          BatchNormActivation activation, const Pass& pass) {
  const bool is_frozen = running_mean_.is_frozen() && running_var_.is_frozen();
  const BatchNormOptions options{.eps = eps_,
                                 .momentum = momentum_,
                                 .statistics = pass.is_training && !is_frozen
                                                   ? BatchNormStatistics::kBatch
                                                   : BatchNormStatistics::kRunning,
                                 .activation = activation};
  return batch_norm(x, weight_.effective_full(pass), bias_.effective_full(pass), residual,
                    running_mean_.raw(pass), running_var_.raw(pass), options);
}

Variable BatchNorm2d::forward(const Variable& x, const Pass& pass) {
  return run(x, {}, BatchNormActivation::kNone, pass);
}

Variable batch_norm_act(BatchNorm2d& bn, const Variable& x, Relu& act, const Pass& pass) {
  if (!Trace::active() && is_unseen(bn, pass) && is_entered_unseen(act, pass))
    return act.leave(bn.run(x, {}, act.fused(), pass), pass);
  return act(bn(x, pass), pass);
}

Variable batch_norm_add_act(BatchNorm2d& bn, const Variable& x, Add& add, const Variable& residual,
                            Relu& act, const Pass& pass) {
  if (!Trace::active() && is_unseen(bn, pass) && is_unseen(add, pass) &&
      is_entered_unseen(act, pass))
    return act.leave(bn.run(x, residual, act.fused(), pass), pass);
  return act(add(bn(x, pass), residual, pass), pass);
}

}  // namespace vtrain
