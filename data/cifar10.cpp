// CIFAR-10 in its binary version: 50,000 + 10,000 colour photos of 32x32 pixels, ten classes.
#include "data/cifar.h"

namespace vtrain {
namespace {

std::shared_ptr<const Dataset> open(const DatasetOptions& options) {
  return open_cifar(options,
                    {.name = "cifar10",
                     .archive_folder = "cifar-10-batches-bin",
                     .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                     "data_batch_4.bin", "data_batch_5.bin"},
                     .test_files = {"test_batch.bin"},
                     .label_bytes = 1,
                     .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog",
                                     "horse", "ship", "truck"},
                     .mean = {0.4914, 0.4822, 0.4465},
                     .std = {0.2470, 0.2435, 0.2616}});
}

const RegisteredDataset registered("cifar10",
                                   "CIFAR-10, 10 classes, 32x32 colour, 50,000 + 10,000, binary "
                                   "version, from data.root",
                                   open);

}  // namespace
}  // namespace vtrain
