#include <doctest/doctest.h>

#include "data/dataset.h"
#include "tensor/error.h"
#include "tensor/str.h"
#include "tests/temporary_folder.h"

namespace vtrain {
namespace {

using namespace std::string_literals;

const std::string kImages = "\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x02"s + "abcd";
const std::string kLabels = "\0\0\x08\x01\0\0\0\x02"s + "\x09\x04"s;

std::shared_ptr<const Dataset> open(const TemporaryFolder& folder, Split split = Split::kTrain) {
  return open_dataset("mnist_idx", {.root = folder.path(), .split = split});
}

}  // namespace

TEST_CASE("mnist_idx: train and test files of the folder give images and labels") {
  const TemporaryFolder folder;
  put_file(folder / "train-images-idx3-ubyte", kImages);
  put_file(folder / "train-labels-idx1-ubyte", kLabels);
  put_file(folder / "t10k-images-idx3-ubyte", "\0\0\x08\x03\0\0\0\x01\0\0\0\x02\0\0\0\x01yz"s);
  put_file(folder / "t10k-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x01\x03"s);
  const auto train = open(folder), test = open(folder, Split::kTest);
  CHECK(train->size() == 2);
  CHECK(train->image_size() == ImageSize{1, 1, 2});
  CHECK(train->classes() == 10);
  CHECK(train->label(0) == 9);
  uint8_t pixels[2];
  train->image(1, pixels);
  CHECK(pixels[0] == 'c');
  CHECK(pixels[1] == 'd');
  CHECK(test->size() == 1);
  CHECK(test->image_size() == ImageSize{1, 2, 1});
  CHECK(test->label(0) == 3);
}

TEST_CASE("mnist_idx: no root, other counts and labels beyond 9 are data errors") {
  CHECK_THROWS_WITH_AS(open_dataset("mnist_idx", {}), doctest::Contains("data.root"), DataError);
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(open(folder), doctest::Contains("train-labels-idx1-ubyte.gz: cannot read"),
                       DataError);
  put_file(folder / "train-images-idx3-ubyte", kImages);
  put_file(folder / "train-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x01\x03"s);
  CHECK_THROWS_WITH_AS(open(folder), doctest::Contains("expected 2 labels"), DataError);
  put_file(folder / "train-labels-idx1-ubyte", "\0\0\x08\x01\0\0\0\x02\x03\x0A"s);
  CHECK_THROWS_WITH_AS(open(folder), doctest::Contains("label of image 1: expected 0..9, got 10"),
                       DataError);
}

}  // namespace vtrain
