// Fashion-MNIST: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
// Machine Learning Algorithms", 2017, arXiv:1708.07747. 60,000 + 10,000 grey 28x28 photos of
// clothes; Debian brings them as the package dataset-fashion-mnist.
#include "data/idx.h"

namespace vtrain {
namespace {

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  const std::string root =
      options.root.empty() ? "/usr/share/datasets/fashion-mnist" : options.root;
  return open_idx_dataset(
      root, options.split,
      {.name = "fashion_mnist",
       .class_names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                       "Sneaker", "Bag", "Ankle boot"},
       .mean = {0.2860},
       .std = {0.3530},
       .hint = options.root.empty() ? "apt install dataset-fashion-mnist"
                                    : "data.root must be a folder with MNIST's four idx files; "
                                      "without it apt install dataset-fashion-mnist is enough"});
}

const RegisteredDataset registered("fashion_mnist",
                                   "Fashion-MNIST, 10 classes of clothes, 28x28 grey, 60,000 + "
                                   "10,000 (Debian: dataset-fashion-mnist)",
                                   open);

}  // namespace
}  // namespace vtrain
