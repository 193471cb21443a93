#pragma once

#include <string>
#include <vector>

namespace vtrain {

struct NewMethod {
  std::string name;              // sparse_vd
  std::string family = "prune";  // prune, quant, distill, vit, tokens
  std::string folder = ".";      // vtrain's tree, or that of a project of one's own
};

/// Writes the worked example under another name and returns the paths of the files, from the
/// folder. In vtrain's tree these are the method, its recipe and its test; elsewhere the method,
/// its recipe and, if there is none yet, the CMakeLists.txt of a plug-in. Throws RecipeError for a
/// name that is no identifier or is taken, an unknown family, and for a file that is there already;
/// then nothing is written.
std::vector<std::string> write_new_method(const NewMethod& wanted);

}  // namespace vtrain
