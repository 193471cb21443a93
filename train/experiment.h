#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compress/registry.h"
#include "data/options.h"
#include "nn/optim/optimizer.h"
#include "nn/optim/schedule.h"
#include "recipes/recipe.h"
#include "train/precision.h"

namespace vtrain {

/// One phase as the recipe says it: the recipe's groups with the phase's own keys on top.
struct PhaseConfig {
  std::string name;
  Recipe recipe;
  std::string from;  // an earlier phase whose weights this one starts with; "" = fresh weights, or
                     // model.weights
  std::string model, weights;  // weights: a file, "" = none
  double drop_path = 0;
  int64_t epochs = 0, accum = 1;  // accum: batches per update
  std::optional<double> ema_decay;
  DataOptions data;
  AugmentOptions augment;

  /// Made anew on every call: optimizers and methods have state.
  OptimizerOptions optimizer() const;
  std::unique_ptr<Schedule> schedule() const;
  struct NamedMethod {
    const MethodInfo* info;
    std::unique_ptr<Method> method;
  };
  /// In the order in which they act, whatever the recipe's: what makes the network smaller, then
  /// what masks it, what packs it, what only trains it; by name within each.
  std::vector<NamedMethod> methods() const;
};

/// A whole recipe, read and checked: every key is known, of the right type and in range.
struct Experiment {
  Recipe recipe;
  std::string name;  // of the run folder
  uint64_t seed = 42;
  int threads = 1;
  Amp amp = Amp::kAuto;
  Device device = {};  // where networks train and are measured
  bool use_best = false;
  std::string out_dir;
  std::vector<PhaseConfig> phases;
  std::string reference,
      compact;  // the pair of phases that the report compares; both "" for a single phase
  std::optional<double> expected_top1;
  std::string expected_from;
  int64_t checkpoint_epochs = 1;
  std::optional<int64_t> checkpoint_steps;
  int64_t keep_checkpoints = 2;
  int64_t log_every = 50;
  bool tensorboard = true;

  /// Equal for recipes that give the same bits: without keys that may change on resume.
  std::string hash() const;
};

/// Throws RecipeError for the first thing that is wrong.
Experiment read_experiment(const Recipe& recipe, const std::string& default_name);

}  // namespace vtrain
