#include "compress/parts/token_select.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "autograd/arithmetic.h"

namespace vtrain {
namespace {

using Counts = std::vector<int64_t>;
using Values = std::vector<double>;

/// One image of tokens whose only channel is their position.
Tokens positions(int64_t length, int64_t num_special) {
  Tokens t;
  Tensor x = zeros({1, length, 1});
  for (int64_t i = 0; i < length; ++i) x.slice(1, i, i + 1).fill(static_cast<double>(i));
  t.x = Variable::leaf(x);
  t.num_special = num_special;
  return t;
}

// 196 patches: the counts of the public DynamicViT code. Rounding would give 159 and 143 for 0.9,
// and 25 for 0.5.
TEST_CASE("token_select: counts are truncated, as the published ones are") {
  CHECK(keep_counts(196, 0.7, 3) == Counts{137, 96, 67});
  CHECK(keep_counts(196, 0.9, 3) == Counts{176, 158, 142});
  CHECK(keep_counts(196, 0.5, 3) == Counts{98, 49, 24});
  CHECK(keep_counts(64, 0.7, 3) == Counts{44, 31, 21});
  CHECK(keep_counts(49, 0.7, 3) == Counts{34, 24, 16});
  CHECK(keep_counts(49, 1, 3) == Counts{49, 49, 49});
  CHECK(keep_counts(4, 0.1, 1) == Counts{0});  // the method refuses it
  CHECK(keep_counts(196, 0.7, 0).empty());
}

TEST_CASE("token_select: kept tokens stay in their order, behind the special ones") {
  for (const int64_t special : {0, 1, 2}) {
    const Tokens t = positions(5 + special, special);
    const Tokens u = keep_top(t, Variable(from_values({1, 5}, {1, 5, 2, 4, 3})), 3);
    Values expected;
    for (int64_t i = 0; i < special; ++i) expected.push_back(static_cast<double>(i));
    for (const double patch : {1, 3, 4}) expected.push_back(patch + static_cast<double>(special));
    CHECK(u.x.value().to_vector() == expected);
    CHECK(u.num_special == special);
  }
}

TEST_CASE("token_select: a tie keeps the lower position and NaN is dropped first") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tokens t = positions(5, 1);
  const auto kept = [&](std::initializer_list<double> score, int64_t k) {
    return keep_top(t, Variable(from_values({1, 4}, score)), k).x.value().to_vector();
  };
  CHECK(kept({2, 2, 2, 2}, 2) == Values{0, 1, 2});
  CHECK(kept({1, 2, 2, 2}, 2) == Values{0, 2, 3});
  CHECK(kept({nan, -9, nan, -8}, 2) == Values{0, 2, 4});
  CHECK(kept({nan, -9, nan, -8}, 3) == Values{0, 1, 2, 4});
}

TEST_CASE("token_select: keeping all is the identity, whatever the scores") {
  const Tokens t = positions(4, 1);
  CHECK(keep_top(t, Variable(from_values({1, 3}, {3, 1, 2})), 3).x.value().to_vector() ==
        t.x.value().to_vector());
}

TEST_CASE("token_select: each image keeps its own tokens") {
  Tokens t;
  t.x = Variable(from_values({2, 3, 1}, {0, 1, 2, 10, 11, 12}));
  t.num_special = 1;
  const Tokens u = keep_top(t, Variable(from_values({2, 2}, {1, 0, 0, 1})), 1);
  CHECK(u.x.value().to_vector() == Values{0, 1, 10, 12});
}

TEST_CASE("token_select: kept tokens get their gradient, dropped ones 0, the score none") {
  const Tokens t = positions(4, 1);
  const Variable score = Variable::leaf(from_values({1, 3}, {3, 1, 2}));
  backward(sum(keep_top(t, score * 2, 2).x * 5));
  CHECK(t.x.grad().to_vector() == Values{5, 5, 0, 5});
  CHECK_FALSE(score.grad().defined());
}

TEST_CASE("token_select: top_mask is 1 at the tokens that keep_top keeps") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor score = from_values({2, 4}, {1, 4, 4, 2, 7, 7, 7, 7}, dtype);
    const Tensor mask = top_mask(score, 2);
    CHECK(mask.dtype() == dtype);
    CHECK(mask.to_vector() == Values{0, 1, 1, 0, 1, 1, 0, 0});
  }
}

}  // namespace
}  // namespace vtrain
