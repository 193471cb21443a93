// MNIST, or any other set of ten classes in MNIST's four idx files (KMNIST, EMNIST digits), from a
// folder that the user names. LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to
// Document Recognition", Proc. IEEE 86(11), 1998.
#include "data/idx.h"
#include "tensor/error.h"

namespace vtrain {
namespace {

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  if (options.root.empty()) {
    throw DataError("data.root: mnist_idx needs the folder that holds train-images-idx3-ubyte.gz");
  }
  return open_idx_dataset(options.root, options.split,
                          {.name = "mnist_idx",
                           .class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
                           .mean = {0.1307},
                           .std = {0.3081},
                           .hint = "data.root must be a folder with MNIST's four idx files"});
}

const RegisteredDataset registered("mnist_idx",
                                   "MNIST or any ten classes in MNIST's idx files, plain or .gz, "
                                   "from data.root",
                                   open);

}  // namespace
}  // namespace vtrain
