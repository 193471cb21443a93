#include "compress/parts/path_glob.h"

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

bool matches_glob(std::string_view glob, std::string_view path) {
  if (glob.empty()) return path.empty();
  if (glob.front() != '*') {
    return !path.empty() && path.front() == glob.front() &&
           matches_glob(glob.substr(1), path.substr(1));
  }
  for (size_t skipped = 0; skipped <= path.size(); ++skipped) {
    if (matches_glob(glob.substr(1), path.substr(skipped))) return true;
  }
  return false;
}

std::vector<char> matched_by(const std::vector<std::string>& globs,
                             const std::vector<std::string>& paths, const std::string& key) {
  std::vector<char> matched(paths.size(), 0);
  for (const std::string& glob : globs) {
    bool is_used = false;
    for (size_t i = 0; i < paths.size(); ++i) {
      if (!matches_glob(glob, paths[i])) continue;
      matched[i] = 1;
      is_used = true;
    }
    if (!is_used) throw RecipeError(str(key, ": ", glob, " matches no layer"));
  }
  return matched;
}

}  // namespace vtrain
