#include "data/dataset.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tensor/error.h"

namespace vtrain {

TEST_CASE("dataset: those of this folder are registered, with a line and the file that has them") {
  const std::vector<DatasetEntry> all = registered_datasets();
  for (const std::string name : {"cifar10", "cifar100", "fashion_mnist", "image_folder",
                                 "mnist_idx", "synthetic", "tar_folder", "webdataset"}) {
    CAPTURE(name);
    const auto entry = std::ranges::find(all, name, &DatasetEntry::name);
    REQUIRE(entry != all.end());
    CHECK(!entry->description.empty());
    CHECK(entry->source_file == "data/" + name + ".cpp");
  }
}

TEST_CASE("dataset: an unknown name is refused with the names there are") {
  CHECK_THROWS_WITH_AS(
      open_dataset("imagenet", {}),
      doctest::Contains(
          "no data set is called imagenet; there are cifar10, cifar100, fashion_mnist, "),
      DataError);
}

}  // namespace vtrain
