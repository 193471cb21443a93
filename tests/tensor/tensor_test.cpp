#include "tensor/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tensor/random.h"

namespace vtrain {
namespace {

using Values = std::vector<double>;

/// 0, 1, 2, ...
Tensor counting(const Shape& shape, DType dtype = DType::f32) {
  Values values(static_cast<size_t>(numel_of(shape)));
  std::iota(values.begin(), values.end(), 0.0);
  return from_values(shape, values, dtype);
}

TEST_CASE(
    "tensor: a contiguous tensor has row-major strides, channels last runs over channels first") {
  const Tensor x = Tensor::empty({2, 3, 4, 5});
  CHECK(x.strides() == Shape{60, 20, 5, 1});
  CHECK(x.is_contiguous());
  CHECK_FALSE(x.is_channels_last());
  const Tensor y = Tensor::empty_channels_last({2, 3, 4, 5});
  CHECK(y.strides() == Shape{60, 1, 15, 3});
  CHECK(y.is_channels_last());
  CHECK_FALSE(y.is_contiguous());
  CHECK(x.is_dense());
  CHECK(y.is_dense());
  CHECK(Tensor::empty({2, 1, 4, 5}).is_channels_last());  // one channel: both orders are one
  CHECK_FALSE(Tensor::empty({2, 3}).is_channels_last());
}

TEST_CASE("tensor: extents are reached from both ends") {
  const Tensor x = Tensor::empty({2, 3});
  CHECK(x.dim(0) == 2);
  CHECK(x.dim(-1) == 3);
  CHECK_THROWS_WITH_AS(x.dim(2), "[dim] dim: expected -2..1 for shape (2, 3), got 2", ShapeError);
  CHECK_THROWS_WITH_AS(x.dim(-3), "[dim] dim: expected -2..1 for shape (2, 3), got -3", ShapeError);
  CHECK(Tensor::empty({}).numel() == 1);
  CHECK(Tensor::empty({0, 3}).numel() == 0);
  CHECK(Tensor::empty({2, 3}, DType::bf16).bytes() == 12);
}

TEST_CASE("tensor: views share elements with their source and clones do not") {
  Tensor x = counting({2, 3});
  CHECK(x.transpose(0, 1).to_vector() == Values{0, 3, 1, 4, 2, 5});
  CHECK(x.slice(1, 1, 3).to_vector() == Values{1, 2, 4, 5});
  CHECK(x.select(0, 1).to_vector() == Values{3, 4, 5});
  CHECK(x.select(1, 1).to_vector() == Values{1, 4});
  CHECK(x.transpose(0, 1).slice(0, 1, 3).select(1, 1).to_vector() == Values{4, 5});
  CHECK(x.unsqueeze(1).shape() == Shape{2, 1, 3});
  CHECK(x.unsqueeze(-1).shape() == Shape{2, 3, 1});
  CHECK(x.slice(0, 1, 1).numel() == 0);
  const Tensor clone = x.clone();
  x.slice(1, 1, 2).fill(9);
  CHECK(x.to_vector() == Values{0, 9, 2, 3, 9, 5});
  CHECK(clone.to_vector() == Values{0, 1, 2, 3, 4, 5});
  CHECK(x.select(0, 0).shares_storage_with(x));
  CHECK_FALSE(clone.shares_storage_with(x));
}

TEST_CASE("tensor: views outside are refused") {
  const Tensor x = counting({2, 3});
  CHECK_THROWS_WITH_AS(
      x.slice(1, 2, 4),
      "[slice] range: expected 0 <= begin <= end <= 3 along axis 1 of (2, 3), got 2..4",
      ShapeError);
  CHECK_THROWS_WITH_AS(
      x.slice(0, 2, 1),
      "[slice] range: expected 0 <= begin <= end <= 2 along axis 0 of (2, 3), got 2..1",
      ShapeError);
  CHECK_THROWS_AS(x.select(0, 2), ShapeError);
  CHECK_THROWS_AS(x.select(0, -1), ShapeError);
  CHECK_THROWS_WITH_AS(x.unsqueeze(3), "[unsqueeze] axis: expected 0..2, got 3", ShapeError);
}

TEST_CASE("tensor: reshape is a view where strides allow one, else a copy, and values never move") {
  const Tensor x = counting({2, 3, 4});
  struct Case {
    Tensor from;
    Shape to;
    bool is_view;
  };
  const std::vector<Case> cases{{x, {6, 4}, true},
                                {x, {24}, true},
                                {x, {2, 1, 12, 1}, true},
                                {x.transpose(0, 1), {3, 2, 2, 2}, true},  // splits the last axis
                                {x.transpose(0, 1), {6, 4}, false},
                                {x.transpose(1, 2), {2, 12}, false},
                                {x.transpose(0, 2), {24}, false},
                                {x.slice(1, 0, 2), {2, 8}, true},  // rows of 8 lie together
                                {x.slice(2, 0, 2), {2, 6}, false},
                                {x.slice(0, 1, 2), {12}, true},
                                {x.slice(2, 0, 1), {6}, true},  // one stride fits all
                                {x.slice(2, 1, 3), {6, 2}, true}};
  for (const Case& c : cases) {
    CAPTURE(shape_text(c.from.shape()));
    CAPTURE(shape_text(c.to));
    const Tensor y = c.from.reshape(c.to);
    CHECK(y.shape() == c.to);
    CHECK(y.to_vector() == c.from.to_vector());
    CHECK(y.shares_storage_with(x) == c.is_view);
  }
}

TEST_CASE("tensor: reshape fills in one open extent and refuses another count") {
  const Tensor x = counting({2, 3, 4});
  CHECK(x.reshape({-1}).shape() == Shape{24});
  CHECK(x.reshape({4, -1}).shape() == Shape{4, 6});
  CHECK(counting({1}).reshape({}).ndim() == 0);
  CHECK(counting({}).reshape({1, 1}).shape() == Shape{1, 1});
  CHECK_THROWS_WITH_AS(x.reshape({5, 5}),
                       "[reshape] shape (5, 5): expected 24 elements for x (2, 3, 4), got 25",
                       ShapeError);
  CHECK_THROWS_AS(x.reshape({5, -1}), ShapeError);
}

TEST_CASE("tensor: memory order changes, logical order stays") {
  const Tensor x = counting({2, 3, 2, 2});
  const Tensor y = x.channels_last();
  CHECK(y.is_channels_last());
  CHECK(y.to_vector() == x.to_vector());
  const float* const memory = y.data<float>();
  CHECK(memory[0] == 0);
  CHECK(memory[1] == 4);  // the next channel
  CHECK(memory[3] == 1);  // the next column
  CHECK(y.contiguous().to_vector() == x.to_vector());
  CHECK(y.contiguous().is_contiguous());
  CHECK(y.clone().is_channels_last());
  CHECK(empty_like(y).is_channels_last());
  CHECK(zeros_like(y).is_channels_last());
  CHECK(y.to(DType::f64).is_channels_last());
  CHECK(x.contiguous().shares_storage_with(x));  // nothing to do, nothing copied
  CHECK(y.channels_last().shares_storage_with(y));
}

TEST_CASE("tensor: copies convert between types") {
  const Tensor x = from_values({4}, {-1.5, 0, 2.75, 100});
  CHECK(x.to(DType::f64).to_vector() == Values{-1.5, 0, 2.75, 100});
  CHECK(x.to(DType::i32).to_vector() == Values{-1, 0, 2, 100});  // towards 0
  CHECK(x.to(DType::i64).to_vector() == Values{-1, 0, 2, 100});
  CHECK(x.to(DType::boolean).to_vector() == Values{1, 0, 1, 1});
  CHECK(x.to(DType::bf16).to_vector() == Values{-1.5, 0, 2.75, 100});
  CHECK(counting({3}, DType::u8).to(DType::f32).to_vector() == Values{0, 1, 2});
  CHECK(x.to(DType::f32).shares_storage_with(x));
  CHECK_THROWS_WITH_AS(zeros({1}).to(DType::f16), doctest::Contains("f16"), ShapeError);
}

TEST_CASE("tensor: bf16 rounds to nearest, ties to even, and keeps NaN") {
  const auto round = [](float x) { return static_cast<float>(BFloat16(x)); };
  CHECK(round(1.0f) == 1.0f);
  CHECK(round(1.0f + 0x1p-8f) == 1.0f);                // a tie: down to the even one
  CHECK(round(1.0f + 3 * 0x1p-8f) == 1.0f + 0x1p-6f);  // a tie: up to the even one
  CHECK(round(1.0f + 0x1p-8f + 0x1p-20f) == 1.0f + 0x1p-7f);
  CHECK(round(-1.0f - 3 * 0x1p-8f) == -1.0f - 0x1p-6f);
  CHECK(std::isinf(round(std::numeric_limits<float>::max())));
  CHECK(std::isnan(round(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("tensor: copy_from takes any memory order and type, and only the same shape") {
  Tensor x = zeros({2, 3}, DType::f64);
  x.copy_from(counting({3, 2}).transpose(0, 1));
  CHECK(x.to_vector() == Values{0, 2, 4, 1, 3, 5});
  Tensor column = x.slice(1, 1, 2);
  column.copy_from(from_values({2, 1}, {7, 8}, DType::i32));
  CHECK(x.to_vector() == Values{0, 7, 4, 1, 8, 5});
  CHECK_THROWS_AS(x.copy_from(zeros({3, 2})), ShapeError);
}

TEST_CASE("tensor: in-place edits raise the version, seen by all views, reads do not") {
  Tensor x = counting({2, 3});
  const Tensor view = x.select(0, 0);
  const uint64_t before = view.version();
  x.to_vector();
  x.clone();
  CHECK(view.version() == before);
  x.fill(1);
  CHECK(view.version() > before);
  const uint64_t filled = x.version();
  x.slice(0, 0, 1).copy_from(zeros({1, 3}));
  CHECK(x.version() > filled);
}

TEST_CASE("tensor: data is given in the tensor's own type only") {
  const Tensor x = zeros({2}), undefined;
  CHECK_THROWS_WITH_AS(x.data<double>(), "[data] expected f64, got f32 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(undefined.data<float>(), "[data] the tensor is undefined", ShapeError);
  CHECK(undefined.text() == "undefined");
  CHECK_FALSE(undefined.defined());
}

TEST_CASE("tensor: what cannot be made is refused") {
  CHECK_THROWS_WITH_AS(Tensor::empty({2, -1}), "[empty] shape (2, -1): an extent is negative",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Tensor::empty_channels_last({2, 3}),
                       "[empty] shape (2, 3): channels last needs (N, C, H, W)", ShapeError);
  CHECK_THROWS_WITH_AS(from_values({2}, {1, 2, 3}),
                       "[from_values] shape (2): expected 2 values, got 3", ShapeError);
  CHECK_THROWS_WITH_AS(zeros({2}).item(), "[item] x (2): expected one element", ShapeError);
}

}  // namespace
}  // namespace vtrain
