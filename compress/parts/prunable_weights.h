#pragma once

#include <string>
#include <vector>

#include "nn/network.h"
#include "recipes/recipe.h"

namespace vtrain {

/// Which weights an unstructured method may thin out: those of convolutions and linear layers.
/// Depthwise convolutions never: they hold less than 1 % of the weights and lose the most per
/// weight. The first layer, which sees the images, only if it is asked for, for the same reason.
struct WeightChoice {
  std::vector<std::string> layers = {"*"}, skip = {};  // globs
  bool has_first = false;
};

/// Reads `layers`, `skip` and `first_layer`.
WeightChoice read_weight_choice(Recipe& r);

struct PrunableWeight {
  std::string layer;  // "features.4", or "blocks.0.attn.qkv"
  Parameter weight;
  int glob = 0;  // the first of `layers` that matches it
};

/// In the order of computation. `key` is the place of the method's section, for errors. Throws
/// RecipeError for a glob that matches no layer, and if nothing is left to prune.
std::vector<PrunableWeight> prunable_weights(Network& network, const WeightChoice& choice,
                                             const std::string& key);

std::vector<Parameter> parameters_of(const std::vector<PrunableWeight>& weights);

}  // namespace vtrain
