#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/input_format.h"
#include "data/transforms.h"
#include "recipes/recipe.h"

namespace vtrain {

/// The `data` group of a recipe.
struct DataOptions {
  std::string name = "fashion_mnist";
  std::string root;  // "": the data set's default place
  int64_t batch_size = 128;
  int workers = 1;
  double val = 0;                     // fraction of the training split held out
  std::optional<int64_t> limit;       // first n training samples of the seeded order
  std::vector<double> mean, std;      // per channel; empty: the data set's own
  std::optional<int64_t> image_size;  // of the inputs, square; nullopt: see input_format()
  double crop_pct = 0.875;
  Interpolation interpolation = Interpolation::kBilinear;
  int64_t max_bad = 0;  // damaged images that are skipped

  InputFormat input(const Dataset& dataset) const {
    return input_format(dataset, image_size, crop_pct, interpolation);
  }
};

/// Reads the mapping under `data`. Throws RecipeError.
DataOptions read_data_options(Recipe data);

/// Reads the mapping under `aug`. Throws RecipeError, also for what is not built yet.
AugmentOptions read_augment_options(Recipe aug);

}  // namespace vtrain
