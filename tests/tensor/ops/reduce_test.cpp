#include "tensor/ops/reduce.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/parallel.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

TEST_CASE("reduce: sums over one, several and all dims, by hand") {
  const Tensor x = from_values({2, 3}, {1, 2, 3, 10, 20, 30});
  CHECK(sum(x).to_vector() == Values{66});
  CHECK(sum(x).shape() == Shape{});
  CHECK(sum(x, {}, true).shape() == Shape{1, 1});
  CHECK(sum(x, {0}).to_vector() == Values{11, 22, 33});
  CHECK(sum(x, {-1}).to_vector() == Values{6, 60});
  CHECK(sum(x, {1}, true).shape() == Shape{2, 1});
  CHECK(sum(x, {1, 0}).to_vector() == Values{66});
  CHECK(mean(x, {0}).to_vector() == Values{5.5, 11, 16.5});
  CHECK(sum(zeros({0, 3}), {0}).to_vector() == Values{0, 0, 0});
}

TEST_CASE("reduce: views and channels-last tensors are summed in logical order") {
  const Tensor x = Random(1, "", "reduce").normal({2, 3, 4, 5}, {});
  const Values expected = sum(x, {1, 3}).to_vector();
  CHECK(sum(x.channels_last(), {1, 3}).to_vector() == expected);
  const Tensor turned = sum(x.transpose(1, 3), {1, 3});
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(turned.to_vector()[i] == doctest::Approx(expected[i]).epsilon(1e-6));  // another order
  }
}

TEST_CASE("reduce: f32 sums are accumulated in double") {
  // In f32 alone 2^24 + 1 is 2^24, so adding ones to it gets nowhere.
  Tensor x = ones({1, 5000});
  x.slice(1, 0, 1).fill(0x1p24);
  for (const Tensor& total : {sum(x), sum(x, {1}), sum(x.transpose(0, 1), {0})}) {
    CHECK(std::abs(total.item() - (0x1p24 + 4999)) <= 1);  // the result is rounded to f32 once
  }
}

TEST_CASE("reduce: sums do not depend on the number of threads") {
  const Tensor x = Random(1, "", "reduce").normal({64, 7, 501}, {});
  const int threads = num_threads();
  for (const std::vector<int>& dims : {std::vector<int>{}, {0}, {1}, {2}, {0, 1}, {1, 2}}) {
    set_num_threads(1);
    const Values one = sum(x, dims).to_vector();
    set_num_threads(2);
    CHECK(sum(x, dims).to_vector() == one);
  }
  set_num_threads(threads);
}

TEST_CASE("reduce: sum_to undoes every broadcast") {
  const Tensor x = ones({2, 3, 4});
  CHECK(sum_to(x, {2, 3, 4}).to_vector() == Values(24, 1));
  CHECK(sum_to(x, {4}).to_vector() == Values(4, 6));
  CHECK(sum_to(x, {3, 1}).to_vector() == Values(3, 8));
  CHECK(sum_to(x, {1, 3, 1}).to_vector() == Values(3, 8));
  CHECK(sum_to(x, {}).to_vector() == Values{24});
}

TEST_CASE("reduce: argmax takes the lowest index of a tie") {
  const Tensor x = from_values({3, 3}, {1, 3, 3, 5, 5, 5, -2, -3, -1});
  CHECK(argmax_rows(x).to_vector() == Values{1, 0, 2});
  CHECK(argmax_rows(x).dtype() == DType::i32);
}

TEST_CASE("reduce: a label's rank counts classes above it, ties by index, NaN above all") {
  const auto rank = [](std::initializer_list<double> scores, double label) {
    return label_ranks(from_values({1, static_cast<int64_t>(scores.size())}, scores),
                       from_values({1}, {label}, DType::i32))[0];
  };
  CHECK(rank({1, 3, 2}, 1) == 0);
  CHECK(rank({1, 3, 2}, 0) == 2);
  CHECK(rank({2, 2, 2}, 0) == 0);
  CHECK(rank({2, 2, 2}, 2) == 2);
  // A network of NaN must not score: none of its labels ranks first.
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(rank({nan, nan, nan}, 0) > 0);
  CHECK(rank({nan, 1, 2}, 2) == 1);
}

TEST_CASE(
    "reduce: the sums of rows are wide and good to f32's rounding, split among threads or not") {
  for (const int64_t rows : {1, 63, 64, 5000}) {
    for (const int64_t columns : {1, 7, 16, 100}) {
      CAPTURE(rows);
      CAPTURE(columns);
      const Tensor x = Random(1, "", "rows").normal({rows, columns}, {}).to(DType::bf16);
      const Values exact = sum_rows(x.to(DType::f64)).to_vector();
      CHECK(exact == sum(x.to(DType::f64), {0}).to_vector());
      for (const DType dtype : {DType::bf16, DType::f32}) {
        const Tensor total = sum_rows(x.to(dtype));
        CHECK(total.dtype() == DType::f32);
        const Values values = total.to_vector();
        double worst = 0;
        for (size_t i = 0; i < exact.size(); ++i)
          worst = std::max(worst, std::abs(values[i] - exact[i]));
        // Runs of 64 rows in f32: 64 * 6e-8 of a run's size, about 8, in the worst case; runs are
        // exact among each other, and one more rounding is for sums up to 300.
        CHECK(worst < 6e-5);
      }
    }
  }
  CHECK_THROWS_WITH_AS(sum_rows(zeros({3})), "[sum_rows] x (3): expected (rows, C)", ShapeError);
}

TEST_CASE("reduce: wrong arguments are named") {
  const Tensor x = zeros({2, 3});
  CHECK_THROWS_WITH_AS(sum(x, {2}), "[sum] dim: expected -2..1 for shape (2, 3), got 2",
                       ShapeError);
  CHECK_THROWS_WITH_AS(sum(x, {1, -1}), "[sum] dims: one is named twice", ShapeError);
  CHECK_THROWS_WITH_AS(sum(zeros({2}, DType::i32)),
                       "[sum] x: expected f32, f64 or bf16, got i32 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(sum(Tensor()), "[sum] x: is undefined", ShapeError);
  CHECK_THROWS_WITH_AS(argmax_rows(zeros({3})), "[argmax_rows] x (3): expected (N, K), K >= 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(label_ranks(x, zeros({3}, DType::i32)),
                       "[label_ranks] labels (3): expected (N) for logits (2, 3)", ShapeError);
}

}  // namespace
}  // namespace vtrain
