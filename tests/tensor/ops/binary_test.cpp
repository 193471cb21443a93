#include "tensor/ops/binary.h"

#include <doctest/doctest.h>

#include <vector>

#include "tensor/random.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

TEST_CASE("binary: shapes are aligned at the right and extents of 1 repeat") {
  CHECK(broadcast_shape("add", {2, 3}, {3}) == Shape{2, 3});
  CHECK(broadcast_shape("add", {2, 1}, {1, 3}) == Shape{2, 3});
  CHECK(broadcast_shape("add", {}, {4}) == Shape{4});
  CHECK(broadcast_shape("add", {2, 0}, {1}) == Shape{2, 0});
  CHECK_THROWS_WITH_AS(broadcast_shape("add", {2, 3}, {2}),
                       "[add] b (2): does not broadcast with a (2, 3)", ShapeError);
}

TEST_CASE("binary: the four operations, by hand") {
  const Tensor a = from_values({2, 2}, {1, 2, 3, 4}), b = from_values({2}, {2, 4});
  CHECK(add(a, b).to_vector() == Values{3, 6, 5, 8});
  CHECK(subtract(a, b).to_vector() == Values{-1, -2, 1, 0});
  CHECK(subtract(b, a).to_vector() == Values{1, 2, -1, 0});
  CHECK(multiply(a, b).to_vector() == Values{2, 8, 6, 16});
  CHECK(divide(a, b).to_vector() == Values{0.5, 0.5, 1.5, 1});
  CHECK(add(a, 0.5).to_vector() == Values{1.5, 2.5, 3.5, 4.5});
  CHECK(multiply(a, -2).to_vector() == Values{-2, -4, -6, -8});
}

TEST_CASE("binary: views and memory orders do not change a result") {
  const Tensor a = Random(1, "", "a").normal({2, 3, 4, 5}, {});
  const Tensor b = Random(1, "", "b").normal({2, 3, 4, 5}, {});
  const Values expected = subtract(a, b).to_vector();
  CHECK(subtract(a.channels_last(), b).to_vector() == expected);
  CHECK(subtract(a, b.channels_last()).to_vector() == expected);
  CHECK(subtract(a.channels_last(), b.channels_last()).to_vector() == expected);
  CHECK(subtract(a.transpose(0, 3), b.transpose(0, 3)).transpose(0, 3).to_vector() == expected);
}

TEST_CASE("binary: accumulate adds in place, from any memory order, and raises the version") {
  for (const bool last : {false, true}) {
    Tensor y = zeros({1, 2, 2, 2});
    const uint64_t before = y.version();
    const Tensor x = from_values({1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
    accumulate(y, last ? x.channels_last() : x);
    accumulate(y, x);
    CHECK(y.to_vector() == Values{0, 2, 4, 6, 8, 10, 12, 14});
    CHECK(y.version() > before);
  }
  Tensor strided = zeros({2, 3});
  Tensor column = strided.slice(1, 1, 2);
  accumulate(column, ones({2, 1}));
  CHECK(strided.to_vector() == Values{0, 1, 0, 0, 1, 0});
}

TEST_CASE("binary: wrong arguments are named") {
  Tensor y = zeros({2});
  CHECK_THROWS_WITH_AS(accumulate(y, zeros({3})), "[accumulate] x (3): expected the shape of y (2)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(accumulate(y, zeros({2}, DType::f64)),
                       "[accumulate] x: expected f32 like y, got f64 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(add(zeros({2}, DType::u8), y),
                       "[add] a: expected f32, f64 or bf16, got u8 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(add(Tensor(), y), "[add] a: is undefined", ShapeError);
}

}  // namespace
}  // namespace vtrain
