#include "compress/parts/path_glob.h"

#include <doctest/doctest.h>

#include "tensor/error.h"

namespace vtrain {
namespace {

TEST_CASE("path_glob: a star stands for any characters, none included") {
  CHECK(matches_glob("conv1", "conv1"));
  CHECK(!matches_glob("conv1", "layer1.0.conv1"));
  CHECK(!matches_glob("conv1", "conv10"));
  CHECK(matches_glob("*.conv1", "layer1.0.conv1"));
  CHECK(matches_glob("layer*.downsample.*", "layer2.0.downsample.0"));
  CHECK(!matches_glob("layer*.downsample.*", "layer2.0.conv1"));
  CHECK(matches_glob("*", ""));
  CHECK(matches_glob("*fc*", "fc"));
}

TEST_CASE("path_glob: one that matches nothing is an error that names it") {
  CHECK(matched_by({"b*", "c"}, {"a", "b1", "c"}, "skip") == std::vector<char>{0, 1, 1});
  CHECK(matched_by({}, {"a"}, "skip") == std::vector<char>{0});
  CHECK_THROWS_WITH_AS(matched_by({"a", "d*"}, {"a", "b"}, "skip"), "skip: d* matches no layer",
                       RecipeError);
}

}  // namespace
}  // namespace vtrain
