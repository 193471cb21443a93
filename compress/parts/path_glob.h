#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vtrain {

/// Whether `path` is what `glob` says, where * stands for any number of any characters:
/// "*.downsample.*".
bool matches_glob(std::string_view glob, std::string_view path);

/// For each path whether one of the globs matches it. Throws RecipeError for a glob that matches
/// none, naming `key` and it.
std::vector<char> matched_by(const std::vector<std::string>& globs,
                             const std::vector<std::string>& paths, const std::string& key);

}  // namespace vtrain
