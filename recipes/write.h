#pragma once

#include <string>
#include <vector>

#include "recipes/node.h"

namespace vtrain::recipe_detail {

/// The mapping as block YAML, lists in brackets; parses back to the same tree.
std::string to_yaml(const Node& mapping, bool with_origins);

/// One text for all trees of the same content: keys sorted, numbers in their shortest form, without
/// the addresses in `ignored` (counted from `mapping`) and without mappings that these leave empty.
std::string canonical(const Node& mapping, const std::vector<std::string>& ignored);

}  // namespace vtrain::recipe_detail
