#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace vtrain {

/// An array of bytes in the idx format of LeCun's MNIST page: two zero bytes, 0x08 (unsigned
/// bytes), the number of dimensions, each extent as a big-endian 32-bit integer, the elements in
/// row-major order.
struct IdxArray {
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

/// Reads `path`, plain or gzip by its content. Throws DataError that names the file and says where
/// it stops making sense: missing, truncated, of another magic number or of other extents than its
/// length allows, with something behind the end. `hint` ends the message about a missing file.
IdxArray read_idx(const std::string& path, int dimensions, const std::string& hint = "");

/// What a pair of idx files is called, and what its labels mean.
struct IdxDescription {
  std::string name;
  std::vector<std::string> class_names = {};
  std::vector<double> mean, std;
  std::string hint = {};  // where to get the files
};

/// The images and labels of `split` in MNIST's files: train-images-idx3-ubyte,
/// t10k-labels-idx1-ubyte and so on, each with or without ".gz". Throws DataError also when their
/// counts differ or a label is out of range.
std::shared_ptr<const Dataset> open_idx_dataset(const std::string& root, Split split,
                                                const IdxDescription& description);

}  // namespace vtrain
