#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/transforms.h"
#include "recipes/recipe.h"

namespace vtrain {

/// The `data` group of a recipe.
struct DataOptions {
  std::string name = "fashion_mnist";
  std::string root;  // "": the data set's default place
  int64_t batch_size = 128;
  int workers = 1;
  double val = 0;                 // fraction of the training split held out
  std::optional<int64_t> limit;   // first n training samples of the seeded order
  std::vector<double> mean, std;  // per channel; empty: the data set's own
};

/// Reads the mapping under `data`. Throws RecipeError.
DataOptions read_data_options(Recipe data);

/// Reads the mapping under `aug`. Throws RecipeError, also for what is not built yet.
AugmentOptions read_augment_options(Recipe aug);

}  // namespace vtrain
