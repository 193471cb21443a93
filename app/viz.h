#pragma once

#include <string>
#include <vector>

#include "tensor/error.h"

namespace vtrain {

struct VizArguments {
  std::string weights;
  std::vector<std::string> images;  // files, or "data:N": image N of the test split
  std::string out = "pictures";     // a folder, made if it is not there
  std::string data, root;           // the data set of "data:N" and its folder
};

/// Writes tokens_<image>.png for each image and one tokens.csv, as train/token_pictures.h says, and
/// prints what the panels are. Nothing is written unless all images can be drawn. Throws
/// RecipeError for a network without blocks of tokens or one that keeps every token of these
/// images, and for two images of one name; DataError for an image that cannot be read.
ExitCode viz(const VizArguments& arguments);

}  // namespace vtrain
