#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "recipes/recipe.h"

namespace vtrain {

/// Parameters that share hyperparameters. Each trained parameter is in one group.
struct ParameterGroup {
  std::string name;
  std::vector<Parameter> parameters;
  double lr_scale = 1;
  std::optional<double> weight_decay =
      {};  // empty: the optimizer's, 0 for what has one dimension, for tokens and position tables
  bool is_by_hand = false;  // a method moves them, from their gradients or otherwise; they count in
                            // no gradient norm
};

/// Updates parameters from their gradients. State is keyed by the parameter, named by its path in
/// files.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update of every parameter that has a gradient and is not frozen; gradients are scaled by
  /// `grad_scale` first.
  virtual void step(const std::vector<ParameterGroup>& groups, double lr, double grad_scale) = 0;

  /// "exp_avg.blocks.0.norm1.weight" -> tensor, and counters as one-element f64 tensors.
  std::map<std::string, Tensor> state() const;
  /// Takes over what `state()` gave, for these parameters. Throws CheckpointError for a name or
  /// shape that does not fit.
  void load_state(const std::map<std::string, Tensor>& tensors,
                  const std::vector<Parameter>& parameters, const std::string& from);

  /// What is held beside a parameter, each of its shape: handles on it. Empty before the first
  /// update.
  std::vector<Tensor> moments(const Parameter& parameter) const;

  /// Follows a cut of the parameter's axis (nn/network.h): what is held beside it is cut likewise.
  void cut(const Parameter& parameter, int axis, const std::vector<int64_t>& keep);
  /// The parameter is gone.
  void forget(const Parameter& parameter) { slots_.erase(parameter.id()); }

 protected:
  struct Slots {
    std::string path;
    std::map<std::string, Tensor> tensors;  // moments
    int64_t steps = 0;
  };
  /// The state of one parameter, made of zeros on first use.
  Slots& slots(const Parameter& parameter, const std::vector<std::string>& names);

 private:
  std::map<const void*, Slots> slots_;
};

struct OptimizerInfo {
  std::string name, description, file;
};

/// What `optim` says besides the optimizer's own keys.
struct OptimizerOptions {
  std::unique_ptr<Optimizer> optimizer;
  double lr = 0;
  std::optional<double> clip_grad;  // largest global norm of the gradient
};

/// Reads the `optim` group.
OptimizerOptions read_optimizer(Recipe optim);
std::vector<OptimizerInfo> registered_optimizers();

class RegisteredOptimizer {
 public:
  RegisteredOptimizer(const std::string& name, std::string description,
                      std::function<std::unique_ptr<Optimizer>(Recipe&)> make,
                      const char* file = __builtin_FILE());
};

/// Whether weight decay leaves this parameter alone: one dimension (norms, biases), class tokens,
/// position tables (timm).
bool is_undecayed(const Parameter& parameter);

}  // namespace vtrain
