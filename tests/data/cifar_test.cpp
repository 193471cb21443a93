#include "data/cifar.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>

#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

/// One record: pixel p of plane c is (p + 50 c) mod 256.
std::string record(const std::string& labels) {
  std::string bytes = labels;
  for (int c = 0; c < 3; ++c) {
    for (int p = 0; p < 1024; ++p) bytes += static_cast<char>(p + 50 * c);
  }
  return bytes;
}

void put_cifar10(const std::string& folder) {
  std::filesystem::create_directories(folder);
  for (char n = '1'; n <= '5'; ++n) {
    put_file(str(folder, "/data_batch_", n, ".bin"),
             record(std::string(1, static_cast<char>(n - '0'))));
  }
  put_file(folder + "/test_batch.bin", record("\x09") + record(std::string(1, '\0')));
}

}  // namespace

TEST_CASE("cifar10: five files make the training split, planes become pixels") {
  const TemporaryFolder folder;
  put_cifar10(folder / "cifar-10-batches-bin");
  for (const std::string& root : {folder.path(), folder / "cifar-10-batches-bin"}) {
    const auto train = open_dataset("cifar10", {.root = root});
    REQUIRE(train->size() == 5);
    CHECK(train->image_size() == ImageSize{3, 32, 32});
    CHECK_FALSE(train->is_encoded());
    for (int i = 0; i < 5; ++i) CHECK(train->label(i) == i + 1);
    std::vector<uint8_t> hwc(3072);
    train->image(4, hwc.data());
    CHECK(hwc[0] == 0);
    CHECK(hwc[1] == 50);
    CHECK(hwc[2] == 100);
    CHECK(hwc[3 * 33 + 2] == 33 + 100);
    const auto test = open_dataset("cifar10", {.root = root, .split = Split::kTest});
    CHECK(test->size() == 2);
    CHECK(test->class_names()[static_cast<size_t>(test->label(0))] == "truck");
  }
}

TEST_CASE("cifar100: the fine label counts") {
  const TemporaryFolder folder;
  put_file(folder / "train.bin", record("\x13\x63"));
  const auto data = open_dataset("cifar100", {.root = folder.path()});
  CHECK(data->classes() == 100);
  CHECK(data->label(0) == 99);
  CHECK(data->class_names()[99] == "worm");
  CHECK(data->class_names()[50] == "mouse");
  CHECK(std::ranges::is_sorted(data->class_names()));
  CHECK(data->default_std() == std::vector<double>{0.2673, 0.2564, 0.2762});
}

TEST_CASE("cifar: a missing file, one that was cut and a label out of range are named") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& root) -> std::string {
    try {
      open_dataset("cifar10", {.root = root});
    } catch (const DataError& e) {
      return e.what();
    }
    return "no error";
  };
  CHECK(error("").starts_with("data.root: missing; data.root must be the folder of the binary"));
  CHECK(error(folder.path())
            .starts_with(folder / "data_batch_1.bin: cannot read: No such file or directory; "
                                  "data.root must be the folder of the binary version of cifar10"));
  put_cifar10(folder.path());
  CHECK(error(folder.path()) == "no error");
  put_file(folder / "data_batch_3.bin", record("\x01").substr(1));
  CHECK(error(folder.path()) ==
        folder /
            "data_batch_3.bin: expected a whole number of images of 3073 bytes, got 3072 bytes; "
            "it is truncated or damaged");
  put_file(folder / "data_batch_3.bin", record("\x01") + record("\x0A"));
  CHECK(error(folder.path()) ==
        folder / "data_batch_3.bin: label of image 1: expected 0..9, got 10");
}

}  // namespace vtrain
