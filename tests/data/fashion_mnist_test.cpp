#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "data/dataset.h"
#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

const std::string kRoot = "/usr/share/datasets/fashion-mnist";

bool is_missing() {
  if (std::filesystem::exists(kRoot)) return false;
  MESSAGE("skipped: " << kRoot << " is not there (apt install dataset-fashion-mnist)");
  return true;
}

}  // namespace

TEST_CASE(
    "fashion_mnist: 60,000 + 10,000 images, 6,000 + 1,000 of each class, with the stated mean and "
    "std") {
  if (is_missing()) return;
  for (const Split split : {Split::kTrain, Split::kTest}) {
    CAPTURE(name_of(split));
    const auto data = open_dataset("fashion_mnist", {.split = split});
    CHECK(data->size() == (split == Split::kTrain ? 60000 : 10000));
    CHECK(data->image_size() == ImageSize{1, 28, 28});
    CHECK(data->class_names()[9] == "Ankle boot");
    std::array<int64_t, 10> count{};
    for (int64_t i = 0; i < data->size(); ++i) ++count.at(static_cast<size_t>(data->label(i)));
    for (const int64_t n : count) CHECK(n == data->size() / 10);
    if (split == Split::kTest) continue;
    double sum = 0, squares = 0;
    std::array<uint8_t, 784> pixels{};
    for (int64_t i = 0; i < data->size(); ++i) {
      data->image(i, pixels.data());
      for (const uint8_t p : pixels) {
        sum += p;
        squares += double{1} * p * p;
      }
    }
    const double n = 60000.0 * 784, mean = sum / n, variance = squares / n - mean * mean;
    CHECK(mean / 255 ==
          doctest::Approx(data->default_mean()[0]).epsilon(1e-3));  // stated to 4 digits
    CHECK(std::sqrt(variance) / 255 == doctest::Approx(data->default_std()[0]).epsilon(1e-3));
    CHECK(data->label(0) == 9);  // the first training image is an ankle boot
  }
}

TEST_CASE(
    "fashion_mnist: a training file cut in the middle is a data error with its name and offset") {
  if (is_missing()) return;
  const TemporaryFolder folder;
  const std::string images = "train-images-idx3-ubyte.gz", labels = "train-labels-idx1-ubyte.gz";
  const std::string whole = file_content(kRoot + '/' + images);
  put_file(folder / images, std::string_view(whole).substr(0, whole.size() / 2));
  put_file(folder / labels, file_content(kRoot + '/' + labels));
  CHECK_THROWS_WITH_AS(
      open_dataset("fashion_mnist", {.root = folder.path()}),
      doctest::Contains(str(folder / images, ": the gzip stream is truncated at byte ",
                            whole.size() / 2, " of the file: expected 47040016")
                            .c_str()),
      DataError);
}

TEST_CASE("fashion_mnist: a missing folder names the file and the Debian package") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(open_dataset("fashion_mnist", {.root = folder / "no"}),
                       doctest::Contains("apt install dataset-fashion-mnist"), DataError);
  CHECK_THROWS_WITH_AS(
      open_dataset("fashion_mnist", {.root = folder / "no"}),
      doctest::Contains((folder / "no/train-labels-idx1-ubyte.gz: cannot read").c_str()),
      DataError);
}

}  // namespace vtrain
