#include "tensor/ops/fake_quantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>

#include "levels.h"
#include "numeric.h"
#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

using testing::uniform;

constexpr CodeRange kU8{.low = 0, .high = 255}, kS8{.low = -127, .high = 127};
Tensor scale_of(double s, DType dtype = DType::f32) { return full({1}, s, dtype); }

Tensor grad_of(const Tensor& x, const Tensor& scale, const CodeRange& range, const Tensor& dy) {
  return fake_quantize_grad(fake_quantize_with_mask(x, scale, range).inside, dy);
}

/// The formula in f32, one operation at a time.
float by_hand(float x, float scale, const CodeRange& r) {
  const volatile float inverse = 1 / scale;
  const volatile float steps = x * inverse;
  const float code = std::nearbyintf(steps) + static_cast<float>(r.zero_point);
  const float kept =
      std::fmin(std::fmax(code, static_cast<float>(r.low)), static_cast<float>(r.high));
  return scale * (kept - static_cast<float>(r.zero_point));
}

TEST_CASE("fake_quantize: ties go to even, and codes stop at the ends of their range") {
  const Tensor x = from_values({8}, {0.5, 1.5, 2.5, 3.5, 254.5, 255.5, -0.5, 300});
  const std::vector<double> expected{0, 2, 2, 4, 254, 255, 0, 255};
  CHECK(fake_quantize(x, scale_of(1), kU8).to_vector() == expected);
  const Tensor codes = quantize(x, scale_of(1), kU8);
  CHECK(codes.dtype() == DType::u8);
  CHECK(codes.to_vector() == expected);
  CHECK(fake_quantize(x.to(DType::f64), scale_of(1, DType::f64), kU8).to_vector() == expected);
  const Tensor negative = quantize(multiply(x, -1.0), scale_of(1), kS8);
  CHECK(negative.dtype() == DType::i8);
  CHECK(negative.to_vector() == std::vector<double>{0, -2, -2, -4, -127, -127, 0, -127});
}

TEST_CASE("fake_quantize: every element has the bits of the formula in f32, at any length") {
  for (const int64_t n : {1, 5, 16, 37, 40003}) {
    CAPTURE(n);
    const Tensor x = uniform({n}, -4, 4, "x", DType::f32);
    for (const CodeRange& range :
         {kS8, kU8, CodeRange{.low = 0, .high = 255, .zero_point = 118},
          CodeRange{.low = -2, .high = 1}, CodeRange{.low = -32767, .high = 32767}}) {
      const double scale = range.high > 255 ? 1.1e-4 : 0.0279;
      const Tensor y = fake_quantize(x, scale_of(scale), range);
      const float* const got = y.data<float>();
      const float* const given = x.data<float>();
      int64_t wrong = 0;
      for (int64_t i = 0; i < n; ++i)
        wrong += got[i] != by_hand(given[i], static_cast<float>(scale), range);
      CHECK(wrong == 0);
      if (range.high <= 255)
        CHECK(dequantize(quantize(x, scale_of(scale), range), scale_of(scale), range).to_vector() ==
              y.to_vector());
      CHECK(fake_quantize(y, scale_of(scale), range).to_vector() == y.to_vector());
    }
  }
}

TEST_CASE("fake_quantize: every level of instructions gives the same") {
  testing::check_at_every_level(
      "fake_quantize: every element*,fake_quantize: ties*,fake_quantize: with its mask*");
}

TEST_CASE("fake_quantize: of b bits there are at most 2^b values, and 0 stays 0") {
  const Tensor x = uniform({4000}, -1, 3, "x", DType::f32);
  const std::vector<double> y =
      fake_quantize(x, scale_of(0.21), {.low = 0, .high = 15, .zero_point = 4}).to_vector();
  CHECK(std::set<double>(y.begin(), y.end()).size() == 16);
  CHECK(fake_quantize(zeros({3}), scale_of(0.21), {.low = 0, .high = 15, .zero_point = 4})
            .to_vector() == std::vector<double>{0, 0, 0});
}

TEST_CASE(
    "fake_quantize: the gradient passes inside the range, its ends included, and no further") {
  const float step = 0.37f, high = 127 * step, low = -127 * step;
  const auto beyond = [](float v, float to) { return static_cast<double>(std::nextafter(v, to)); };
  const Tensor x = from_values({6}, {static_cast<double>(low), static_cast<double>(high), 0,
                                     beyond(low, -100), beyond(high, 100), beyond(high, 0)});
  const Tensor dy = from_values({6}, {1, 2, 3, 4, 5, 6});
  CHECK(grad_of(x, scale_of(static_cast<double>(step)), kS8, dy).to_vector() ==
        std::vector<double>{1, 2, 3, 0, 0, 6});
  // With zero point 2 the codes 0..7 stand for -2..5 steps.
  const CodeRange askew{.low = 0, .high = 7, .zero_point = 2};
  CHECK(
      grad_of(from_values({4}, {-2, -2.01, 5, 5.01}), scale_of(1), askew, ones({4})).to_vector() ==
      std::vector<double>{1, 0, 1, 0});
}

TEST_CASE("fake_quantize: with its mask it gives the same values, and a bit for each element") {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    for (const int64_t n : {1, 7, 16, 63, 64, 65, 1000, 70001}) {
      CAPTURE(n);
      const Tensor x = uniform({n}, -3, 3, "x", dtype);
      const Tensor scale = scale_of(0.0156, dtype == DType::f64 ? dtype : DType::f32);
      const auto [y, inside] = fake_quantize_with_mask(x, scale, kS8);
      CHECK(y.to_vector() == fake_quantize(x, scale, kS8).to_vector());
      CHECK(inside.bits.shape() == Shape{1, (n + 63) / 64 * 8});
      const std::vector<double> given = x.to_vector();
      const double end = dtype == DType::f64 ? 127 * 0.0156 : static_cast<double>(127 * 0.0156f);
      const Tensor dy = uniform({n}, 1, 2, "dy", dtype);
      std::vector<double> expected = dy.to_vector();
      for (size_t i = 0; i < given.size(); ++i) {
        const bool is_inside = std::abs(given[i]) <= end;
        CHECK((inside.bits.data<uint8_t>()[i / 8] >> (i % 8) & 1) == (is_inside ? 1 : 0));
        if (!is_inside) expected[i] = 0;
      }
      CHECK(fake_quantize_grad(inside, dy).to_vector() == expected);
      CHECK(fake_quantize_grad_in_place(inside, dy).to_vector() == expected);
      CHECK(dy.to_vector() == expected);
    }
  }
}

TEST_CASE("fake_quantize: in place, gradients are the same in any memory order") {
  const Tensor x = uniform({2, 8, 5, 3}, -3, 3, "x", DType::f32).channels_last();
  for (const int64_t scales : {1, 2}) {
    const Tensor scale = full({scales}, 0.0156);
    const InsideMask inside = fake_quantize_with_mask(x, scale, kS8).inside;
    for (const bool is_channels_last : {false, true}) {
      const Tensor plain = uniform({2, 8, 5, 3}, -1, 1, "dy", DType::f32);
      const Tensor dy = is_channels_last ? plain.channels_last() : plain;
      const std::vector<double> apart = fake_quantize_grad(inside, dy).to_vector();
      const LearnedScaleGrads learned = learned_scale_grad(x, scale, kS8, dy),
                              learned_in_place =
                                  learned_scale_grad_in_place(x, scale, kS8, dy.clone());
      CHECK(learned_in_place.dx.to_vector() == learned.dx.to_vector());
      CHECK(learned_in_place.dscale.to_vector() == learned.dscale.to_vector());
      CHECK(fake_quantize_grad_in_place(inside, dy).to_vector() == apart);
      CHECK((dy.to_vector() == apart) == is_channels_last);  // the other is not x's order
    }
  }
}

TEST_CASE("learned_scale_grad: five values by hand") {
  // v / s = -9, -8, 0.3, 0.5, 7.2 at 4 bits; rne(0.5) = 0
  const CodeRange range{.low = -8, .high = 7};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const double scale = 0.5;
    const Tensor x = from_values({5}, {-4.5, -4, 0.15, 0.25, 3.6}, dtype);
    const std::vector<double> slopes{-8, -8, -0.3, -0.5, 7};
    for (size_t i = 0; i < slopes.size(); ++i) {
      std::vector<double> one(5, 0);
      one[i] = 2;
      const auto grads =
          learned_scale_grad(x, scale_of(scale, dtype), range, from_values({5}, one, dtype));
      CHECK(grads.dscale.item() == doctest::Approx(2 * slopes[i]).epsilon(1e-6));
      CHECK(grads.dscale.shape() == Shape{1});
    }
    const auto grads = learned_scale_grad(x, scale_of(scale, dtype), range, ones({5}, dtype));
    CHECK(grads.dx.to_vector() == std::vector<double>{0, 0, 1, 1, 0});
    CHECK(grads.dscale.item() == doctest::Approx(-9.8).epsilon(1e-6));
  }
}

TEST_CASE("fake_quantize: a scale per slice treats each slice as if it were alone") {
  for (const bool is_channels_last : {false, true}) {
    const Tensor plain = uniform({3, 4, 5, 2}, -2, 2, "w", DType::f32);
    const Tensor x = is_channels_last ? plain.channels_last() : plain;
    const Tensor dy = uniform({3, 4, 5, 2}, -1, 1, "dy", DType::f32);
    const Tensor scale = from_values({3}, {0.1, 0.02, 0.004});
    const Tensor y = fake_quantize(x, scale, kS8), q = quantize(x, scale, kS8),
                 dx = grad_of(x, scale, kS8, dy), error = fake_quantize_error(x, scale, kS8);
    const auto learned = learned_scale_grad(x, scale, kS8, dy);
    CHECK(y.strides() == x.strides());
    CHECK(q.strides() == x.strides());
    for (int64_t o = 0; o < 3; ++o) {
      const Tensor own = scale.slice(0, o, o + 1).contiguous(),
                   part = plain.slice(0, o, o + 1).contiguous(),
                   slope = dy.slice(0, o, o + 1).contiguous();
      const auto slice = [o](const Tensor& t) { return t.slice(0, o, o + 1).to_vector(); };
      CHECK(slice(y) == fake_quantize(part, own, kS8).to_vector());
      CHECK(slice(q) == quantize(part, own, kS8).to_vector());
      CHECK(slice(dx) == grad_of(part, own, kS8, slope).to_vector());
      const auto alone = learned_scale_grad(part, own, kS8, slope);
      CHECK(slice(learned.dx) == alone.dx.to_vector());
      CHECK(slice(learned.dscale)[0] == doctest::Approx(alone.dscale.item()).epsilon(1e-6));
      CHECK(slice(error)[0] ==
            doctest::Approx(fake_quantize_error(part, own, kS8).item()).epsilon(1e-6));
    }
  }
}

TEST_CASE("fake_quantize_error: the sum of squares by hand, and over many blocks") {
  CHECK(
      fake_quantize_error(from_values({4}, {0.25, 1, -0.5, 9}), scale_of(1), {.low = -2, .high = 3})
          .item() == 0.0625 + 0 + 0.25 + 36);
  const Tensor x = uniform({20001}, -2, 2, "x", DType::f32);
  const Tensor y = fake_quantize(x, scale_of(0.03), kS8);
  double sum = 0;
  const std::vector<double> a = x.to_vector(), b = y.to_vector();
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  CHECK(fake_quantize_error(x, scale_of(0.03), kS8).item() == doctest::Approx(sum).epsilon(1e-5));
}

TEST_CASE("fake_quantize: bf16 is the f32 result rounded, its gradients are the same") {
  const Tensor x = uniform({333}, -2, 2, "x", DType::bf16),
               dy = uniform({333}, -1, 1, "dy", DType::bf16);
  const Tensor s = scale_of(0.013), wide = x.to(DType::f32);
  CHECK(fake_quantize(x, s, kS8).to_vector() ==
        fake_quantize(wide, s, kS8).to(DType::bf16).to_vector());
  CHECK(grad_of(x, s, kS8, dy).to_vector() == grad_of(wide, s, kS8, dy.to(DType::f32)).to_vector());
  const auto narrow = learned_scale_grad(x, s, kS8, dy);
  CHECK(narrow.dscale.dtype() == DType::f32);
  CHECK(narrow.dscale.item() == learned_scale_grad(wide, s, kS8, dy.to(DType::f32)).dscale.item());
}

TEST_CASE(
    "fake_quantize: what is not a number comes through, but has no code; infinity is clamped") {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               infinity = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<double> y =
        fake_quantize(from_values({3}, {nan, infinity, -infinity}, dtype), scale_of(1, dtype), kS8)
            .to_vector();
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == 127);
    CHECK(y[2] == -127);
  }
  std::vector<double> many(50, 1);
  many[48] = nan;
  CHECK_THROWS_WITH_AS(quantize(from_values({50}, many), scale_of(1), kS8),
                       "[quantize] x (50): has a value that is not a number; no code can stand for "
                       "it",
                       Error);
}

TEST_CASE("fake_quantize: wrong arguments are named") {
  const Tensor x = zeros({2, 3});
  CHECK_THROWS_WITH_AS(fake_quantize(x, ones({3}), kS8),
                       "[fake_quantize] scale f32 (3) on cpu: expected f32 of shape (1), or one "
                       "for each slice of axis 0 of x (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(fake_quantize(x, ones({1}), {.low = 3, .high = 3, .zero_point = 3}),
                       "[fake_quantize] range: expected low < high, both within 2^20, and a zero "
                       "point in between, got 3..3 with zero point 3",
                       ShapeError);
  CHECK_THROWS_WITH_AS(quantize(x, ones({1}), {.low = -128, .high = 128}),
                       "[quantize] range: expected codes in -128..127 or 0..255, got -128..128",
                       ShapeError);
  const InsideMask inside = fake_quantize_with_mask(zeros({70}), ones({1}), kS8).inside;
  CHECK_THROWS_WITH_AS(fake_quantize_grad(inside, zeros({200})),
                       "[fake_quantize_grad] dy (200): expected the shape of x, of which the mask "
                       "has 1 x 16 bytes",
                       ShapeError);
  CHECK_THROWS_WITH_AS(learned_scale_grad(x, ones({1}), {.low = 0, .high = 7, .zero_point = 2}, x),
                       "[learned_scale_grad] zero point: expected 0 for a learned scale, got 2",
                       ShapeError);
}

}  // namespace
}  // namespace vtrain
