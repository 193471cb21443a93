#include "compress/parts/least_weights.h"

#include <doctest/doctest.h>

#include <limits>

#include "tensor/error.h"

namespace vtrain {
namespace {

TEST_CASE("least weights: counts over all layers follow one order") {
  const WeightScores scores = {{5, 1, 3}, {2, 9}, {4}};
  CHECK(counts_over_all(scores, 0, 0) == std::vector<int64_t>{0, 0, 0});
  CHECK(counts_over_all(scores, 2, 0) == std::vector<int64_t>{1, 1, 0});  // 1, 2
  CHECK(counts_over_all(scores, 4, 0) == std::vector<int64_t>{2, 1, 1});  // 1, 2, 3, 4
  CHECK(counts_over_all(scores, 6, 0) == std::vector<int64_t>{3, 2, 1});
}

TEST_CASE("least weights: a layer keeps its floor and another layer's weight goes instead") {
  const WeightScores scores = {{5, 1, 3}, {2, 9}, {4}};
  CHECK(counts_over_all(scores, 4, 1) == std::vector<int64_t>{2, 1, 0});  // 1, 2, 3; the 4 stays
  CHECK(counts_over_all(scores, 6, 1) == std::vector<int64_t>{2, 1, 0});
}

TEST_CASE("least weights: ties go by layer and position, and exactly as many as asked") {
  CHECK(counts_over_all({{0, 0, 0}, {0, 0}}, 4, 0) == std::vector<int64_t>{3, 1});
  CHECK(all_but_least({0, 0, 0, 1}, 2) == std::vector<char>{0, 0, 1, 1});
  CHECK(all_but_least({7, 1, 7, 1}, 3) == std::vector<char>{0, 0, 1, 0});
  CHECK(all_but_least({3, 2}, 0) == std::vector<char>{1, 1});
  CHECK(all_but_least({3, 2}, 2) == std::vector<char>{0, 0});
}

TEST_CASE("least weights: a score that is not a number is refused") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(all_but_least({1, nan}, 1), "pruning: the score of weight 1 is not a number",
                       Error);
  CHECK_THROWS_AS(counts_over_all({{nan}}, 1, 0), Error);
}

}  // namespace
}  // namespace vtrain
