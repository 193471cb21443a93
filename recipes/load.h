#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "recipes/node.h"

namespace vtrain::recipe_detail {

/// The tree of a file on top of its `base:` chain; the key `base` is gone. Addresses are not set
/// yet. Throws RecipeError.
NodePtr load_file(const std::string& path);
NodePtr load_text(std::string_view yaml, const std::string& name);

/// Applies one override ("a.b=v", "+a.b=v", "~a.b") to the tree. Throws RecipeError.
void apply_override(Node& root, std::string_view override);

}  // namespace vtrain::recipe_detail
