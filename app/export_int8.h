#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "nn/network.h"
#include "tensor/error.h"

namespace vtrain {

struct Int8ExportArguments {
  std::string weights, out;
  std::string range = "minmax";
  int64_t images = 512;  // to calibrate with
  std::vector<std::string> skip = {};
  /// Images of a split in batches, at most `limit` of them, evenly spread.
  std::function<std::unique_ptr<Loader>(const Network& network, Split split, int64_t batch_size,
                                        std::optional<int64_t> limit)>
      loader;
};

/// Chooses scales on images of the train split, writes the file, reads it back, compares it with
/// its simulated twin step by step and class by class, and prints what it reaches on the test
/// split. The file appears only when all agrees: two forms that differ are an Error with exit code
/// 6 that names the layer.
ExitCode export_int8(const Int8ExportArguments& arguments);

}  // namespace vtrain
