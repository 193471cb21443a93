#pragma once

#include <string>
#include <vector>

#include "compress/parts/cut_groups.h"
#include "recipes/recipe.h"

namespace vtrain {

/// Which filters of a convolutional network a structured method may take.
struct FilterChoice {
  std::vector<std::string> layers = {"*"}, skip = {};  // globs
  bool couples_streams = false;  // channels that residual sums bind together may go too
};

/// Reads `layers`, `skip` and `streams`.
FilterChoice read_filter_choice(Recipe& r);

/// The groups that convolutions alone make and the choice lets go: indices of groups.groups(), in
/// the network's order. `key` is the place of the method's section, for errors. Throws RecipeError
/// for a glob that matches no layer; empty for a network without filters.
std::vector<size_t> filter_groups(Network& network, const CutGroups& groups,
                                  const FilterChoice& choice, const std::string& key);

/// Throws RecipeError if filter_groups is empty, saying what was expected.
void require_filters(Network& network, const FilterChoice& choice, const std::string& key);

}  // namespace vtrain
