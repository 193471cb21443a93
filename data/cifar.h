#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace vtrain {

/// How one of the CIFAR sets is kept in its binary version: records of `label_bytes` bytes, the
/// last of which is the label, then 32 x 32 pixels of red, of green and of blue. Krizhevsky,
/// "Learning Multiple Layers of Features from Tiny Images", 2009.
struct CifarDescription {
  std::string name;
  std::string archive_folder;  // what the published archive unpacks to
  std::vector<std::string> train_files, test_files;
  int64_t label_bytes = 1;
  std::vector<std::string> class_names;
  std::vector<double> mean, std;
};

/// Reads a split from `options.root`, the folder of the .bin files or the one that holds
/// `archive_folder`. Throws DataError for files that are missing, that are not a whole number of
/// records, or whose labels are out of range.
std::shared_ptr<const Dataset> open_cifar(const DatasetOptions& options,
                                          const CifarDescription& description);

}  // namespace vtrain
