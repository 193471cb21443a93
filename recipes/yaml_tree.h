#pragma once

#include <string>
#include <string_view>

#include "recipes/node.h"

namespace vtrain::recipe_detail {

/// The tree of a YAML document, with the line and column of every value; `file` stands for it in
/// messages. Anchors are followed; tags, several documents and a key written twice are errors, as
/// is a root that is no mapping. Throws RecipeError.
NodePtr parse_yaml(std::string_view text, const std::string& file);

/// The tree of a value given on the command line for `address`; empty text is null.
NodePtr parse_value(std::string_view text, const std::string& address);

}  // namespace vtrain::recipe_detail
