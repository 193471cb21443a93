#include "data/split.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "tensor/error.h"

namespace vtrain {

TEST_CASE("split: train and val are disjoint, together everything, and of the asked sizes") {
  const HoldOut split = hold_out(1000, {.val = 0.05, .seed = 1});
  CHECK(split.val.size() == 50);
  std::vector<int64_t> all;
  std::ranges::merge(split.train, split.val, std::back_inserter(all));
  std::vector<int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all == expected);
}

TEST_CASE("split: it is the same every time and another for another seed") {
  CHECK(hold_out(1000, {.val = 0.1, .seed = 1}).val == hold_out(1000, {.val = 0.1, .seed = 1}).val);
  CHECK(hold_out(1000, {.val = 0.1, .seed = 1}).val != hold_out(1000, {.val = 0.1, .seed = 2}).val);
}

TEST_CASE("split: limit keeps a part of the seeded order, not the data set's first samples") {
  const HoldOut small = hold_out(1000, {.limit = 100, .seed = 3}),
                large = hold_out(1000, {.limit = 200, .seed = 3});
  CHECK(small.train.size() == 100);
  CHECK(small.val.empty());
  CHECK(small.train.back() > 500);
  CHECK(std::ranges::includes(large.train, small.train));
  const HoldOut both = hold_out(1000, {.val = 0.2, .limit = 100, .seed = 3});
  CHECK(both.val.size() == 20);
  CHECK(both.train.size() == 80);
  CHECK(hold_out(10, {.limit = 100}).train.size() == 10);
}

TEST_CASE("split: a val that leaves one side empty is refused") {
  CHECK_THROWS_WITH_AS(
      hold_out(5, {.val = 0.05}),
      "data.val: 0.05 of 5 samples holds out 0; expected at least 1 and fewer than all", DataError);
  CHECK_THROWS_AS(hold_out(5, {.val = 0.99}), DataError);
}

}  // namespace vtrain
