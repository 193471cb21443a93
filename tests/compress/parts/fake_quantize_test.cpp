#include "compress/parts/fake_quantize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tensor/random.h"

namespace vtrain {
namespace {

constexpr CodeScheme kSchemes[] = {CodeScheme::kSymmetric, CodeScheme::kFull, CodeScheme::kUnsigned,
                                   CodeScheme::kAffine};

TEST_CASE("quantizer: codes of 8 and 4 bits are those of each scheme") {
  CHECK(code_range(CodeScheme::kSymmetric, 8) == CodeRange{.low = -127, .high = 127});
  CHECK(code_range(CodeScheme::kFull, 8) == CodeRange{.low = -128, .high = 127});
  CHECK(code_range(CodeScheme::kUnsigned, 4) == CodeRange{.low = 0, .high = 15});
  CHECK(code_range(CodeScheme::kAffine, 4) == CodeRange{.low = 0, .high = 15});
  CHECK_THROWS_WITH_AS(code_range(CodeScheme::kFull, 1), "bits: expected 2 to 16, got 1",
                       RecipeError);
}

TEST_CASE("quantizer: scale and zero point of a range, by hand") {
  CHECK(quantized_type({-6, 2}, CodeScheme::kSymmetric, 3).scale == 2);  // 6 / 3
  CHECK(quantized_type({-6, 2}, CodeScheme::kFull, 3).scale == 2);
  CHECK(quantized_type({0, 14}, CodeScheme::kUnsigned, 3).scale == 2);  // 14 / 7
  CHECK(quantized_type({3, 14}, CodeScheme::kUnsigned, 3).scale == 2);  // 0 is always inside
  // (10 - -2) / 6 = 2, and 0 is one step up: 1 lies between the even codes 0 and 2, ties to 0.
  const QuantizedType askew = quantized_type({-2, 10}, CodeScheme::kAffine, 3);
  CHECK(askew.scale == 2);
  CHECK(askew.range.zero_point == 0);
  CHECK(quantized_type({-6, 6}, CodeScheme::kAffine, 3).range.zero_point == 4);  // 3 -> 4
  CHECK(quantized_type({-12, 0}, CodeScheme::kAffine, 3).range.zero_point == 6);
}

TEST_CASE(
    "quantizer: 0 is exact, and no value inside the range is off by more than its scheme says") {
  const Random random(11, "", "ranges");
  const std::vector<double> ends = random.normal({40, 2}, {}, 0, DType::f64).to_vector();
  for (size_t i = 0; i < 40; ++i) {
    const ValueRange range{-std::abs(ends[2 * i]), std::abs(ends[2 * i + 1])};
    std::vector<double> values{0};
    for (int k = 0; k <= 100; ++k) values.push_back(range.low + (range.high - range.low) * k / 100);
    for (const CodeScheme scheme : kSchemes) {
      const QuantizedType type = quantized_type(range, scheme, 8);
      const std::vector<double> y = Quantizer(type)(from_values({102}, values)).to_vector();
      CHECK(y[0] == 0);
      // Half a step by rounding; an even zero point may cut off a whole one at one end.
      const double most = scheme == CodeScheme::kAffine ? 1 : 0.5;
      for (size_t k = 1; k < values.size(); ++k) {
        if (scheme == CodeScheme::kUnsigned && values[k] < 0) continue;
        CHECK(std::abs(y[k] - values[k]) <= most * static_cast<double>(type.scale) * 1.00001);
      }
    }
  }
}

TEST_CASE("quantizer: with 16 bits over its own range a tensor moves by half a step at most") {
  const Tensor x = Random(12, "", "x").normal({1000}, {});
  const std::vector<double> given = x.to_vector();
  const auto [low, high] = std::minmax_element(given.begin(), given.end());
  const QuantizedType type = quantized_type({*low, *high}, CodeScheme::kSymmetric, 16);
  const std::vector<double> y = Quantizer(type)(x).to_vector();
  for (size_t i = 0; i < y.size(); ++i)
    CHECK(std::abs(y[i] - given[i]) <= static_cast<double>(type.scale) * 0.501);
}

TEST_CASE("quantizer: a range of nothing but 0, or too small for a reciprocal, has scale 1") {
  for (const CodeScheme scheme : kSchemes) {
    CHECK(quantized_type({0, 0}, scheme, 8).scale == 1);
    CHECK(quantized_type({-1e-39, 1e-39}, scheme, 8).scale == 1);
    CHECK(quantized_type({0, 0}, scheme, 8).range.zero_point == 0);
  }
  CHECK_THROWS_AS(quantized_type({1, 0}, CodeScheme::kFull, 8), Error);
  CHECK_THROWS_AS(quantized_type({0, std::nan("")}, CodeScheme::kFull, 8), Error);
}

TEST_CASE("quantizer: scales per channel, and one for all where there is one channel") {
  const Tensor w = from_values({2, 2}, {1, -2, 0.25, 0.5});
  const std::vector<ValueRange> ranges{{-2, 1}, {0.25, 0.5}};
  const Quantizer quantizer(ranges, CodeScheme::kSymmetric, 3);
  CHECK(quantizer.scale().to_vector() ==
        std::vector<double>{static_cast<double>(2 / 3.f), static_cast<double>(0.5f / 3)});
  CHECK(quantizer.codes(w).to_vector() == std::vector<double>{2, -3, 2, 3});  // 1.5 is a tie
  CHECK(quantizer.reals(quantizer.codes(w)).to_vector() == quantizer(w).to_vector());
  const std::vector<ValueRange> one{{-2, 1}};
  CHECK(Quantizer(one, CodeScheme::kSymmetric, 8)(w).to_vector() ==
        Quantizer(quantized_type(one[0], CodeScheme::kSymmetric, 8))(w).to_vector());
  CHECK_THROWS_WITH_AS(
      Quantizer(ranges, CodeScheme::kAffine, 8),
      "quantization: expected a symmetric scheme for scales per channel, got an affine one", Error);
}

TEST_CASE(
    "quantizer: learned scales start at twice the mean size over the root of the largest code") {
  const CodeRange four{.low = -5, .high = 4};
  const Tensor w = from_values({2, 2}, {1, -3, 0.5, 0.5});
  CHECK(learned_scale_start(w, 2, four).to_vector() == std::vector<double>{2, 0.5});
  CHECK(learned_scale_start(w, 1, four).to_vector() == std::vector<double>{1.25});
  CHECK(learned_scale_start(zeros({2}), 1, four).item() == std::ldexp(1.0, -24));
  CHECK(learned_scale_factor(9, four) == 1.0 / 6);
  CHECK_THROWS_WITH_AS(
      learned_scale_start(w, 3, four),
      "[learned_scale_start] scales: expected 1 or one for each slice of axis 0 of "
      "x (2, 2), got 3",
      ShapeError);
}

TEST_CASE("quantizer: in training it gives the values whose codes are deployed") {
  const Tensor x = Random(13, "", "x").normal({500}, {});
  const Quantizer quantizer(quantized_type({-0.2, 2}, CodeScheme::kAffine, 8));
  const Variable leaf = Variable::leaf(x);
  const Variable y = quantizer(leaf);
  CHECK(y.value().to_vector() == quantizer.reals(quantizer.codes(x)).to_vector());
  backward(y, ones_like(x));
  const std::vector<double> grad = leaf.grad().to_vector();
  CHECK(std::ranges::count(grad, 0) > 0);
  CHECK(std::ranges::count(grad, 1) > 100);
}

}  // namespace
}  // namespace vtrain
