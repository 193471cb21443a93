#include "compress/deploy/int8_kernels.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "tensor/cpu_level.h"
#include "tensor/ops/matmul.h"
#include "tensor/random.h"
#include "tests/tensor/ops/levels.h"

namespace vtrain {
namespace {

constexpr CodeRange kU8{.low = 0, .high = 255}, kS8{.low = -128, .high = 127};

/// Integers low..high, the same for the same name.
Tensor codes(const Shape& shape, const CodeRange& range, std::string_view name) {
  std::vector<double> values = Random(21, "", name).uniform(shape, {}, 0, DType::f64).to_vector();
  for (double& v : values) {
    v = static_cast<double>(range.low) +
        std::floor(v * static_cast<double>(range.high - range.low + 1));
  }
  return from_values(shape, values, code_dtype(range));
}
Tensor images(const Shape& shape, const CodeRange& range, std::string_view name) {
  return codes(shape, range, name).channels_last();
}
Tensor reals(const Shape& shape, double low, double high, std::string_view name) {
  std::vector<double> values = Random(22, "", name).uniform(shape, {}, 0, DType::f64).to_vector();
  for (double& v : values) v = low + (high - low) * v;
  return from_values(shape, values);
}

/// The sums of a convolution in double, which holds them exactly.
std::vector<double> exact_sums(const Tensor& x, int64_t zero_point, const Tensor& w,
                               const Conv2dOptions& options) {
  std::vector<double> values = x.to_vector();
  for (double& v : values) v -= static_cast<double>(zero_point);
  return conv2d(from_values(x.shape(), values, DType::f64), w.to(DType::f64), {}, options)
      .to_vector();
}

struct Int8Case {
  const char* name;
  Shape x, w;
  Conv2dOptions options;
};
const Int8Case kCases[] = {
    {"3x3", {2, 16, 9, 8}, {32, 16, 3, 3}, {.padding = 1}},
    {"3x3, stride 2, odd sizes", {3, 24, 7, 11}, {40, 24, 3, 3}, {.stride = 2, .padding = 1}},
    {"1x1", {2, 33, 5, 6}, {17, 33, 1, 1}, {}},
    {"1x1, stride 2", {1, 64, 8, 8}, {128, 64, 1, 1}, {.stride = 2}},
    {"stem 7x7 of 3 channels", {1, 3, 20, 18}, {16, 3, 7, 7}, {.stride = 2, .padding = 3}},
    {"one channel", {2, 1, 12, 12}, {8, 1, 3, 3}, {.padding = 1}},
    {"groups", {2, 32, 6, 5}, {48, 8, 3, 3}, {.padding = 1, .groups = 4}},
    {"depthwise", {2, 32, 9, 7}, {32, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 32}},
    {"depthwise, odd", {1, 13, 6, 6}, {13, 1, 5, 5}, {.padding = 2, .groups = 13}},
    {"dilation", {1, 16, 9, 9}, {16, 16, 3, 3}, {.padding = 2, .dilation = 2}},
    {"padding on one side", {1, 16, 6, 6}, {16, 16, 2, 2}, {.padding = {0, 1, 0, 1}}},
    {"kernel larger than the image", {1, 8, 2, 2}, {8, 8, 5, 5}, {.padding = 2}},
};

TEST_CASE("int8: sums are exact, of random codes and of the largest there are") {
  for (const Int8Case& c : kCases) {
    CAPTURE(c.name);
    for (const CodeRange& range : {kU8, kS8, CodeRange{.low = 0, .high = 255, .zero_point = 34}}) {
      CAPTURE(range.low);
      CAPTURE(range.zero_point);
      Tensor x = images(c.x, range, "x"), w = codes(c.w, {.low = -127, .high = 127}, "w");
      for (const int fill : {0, 1, -1}) {  // then all 255 or -128 beside all 127 or -127
        CAPTURE(fill);
        if (fill != 0) {
          x.fill(range.low == 0 ? 255 : -128);
          w.fill(127 * fill);
        }
        const Int8Conv2d conv({.weight = w, .input = {.range = range}, .result = Int8Output::kSums},
                              c.options);
        CAPTURE(conv.implementation(c.x));
        const Tensor y = conv.run(x);
        CHECK(y.dtype() == DType::i32);
        CHECK(y.is_channels_last());
        const std::vector<double> exact = exact_sums(x, range.zero_point, w, c.options);
        CHECK(y.to_vector() == exact);
        if (fill <= 0) CHECK(conv.reference(x).to_vector() == exact);
      }
    }
  }
}

TEST_CASE("int8: sums of a linear layer are exact") {
  for (const Shape& shape : {Shape{5, 64}, Shape{2, 7, 33}, Shape{1, 384}}) {
    for (const CodeRange& range : {kU8, kS8, CodeRange{.low = 0, .high = 255, .zero_point = 118}}) {
      for (const int fill : {0, 1, -1}) {
        Tensor x = codes(shape, range, "x"), w = codes({19, shape.back()}, kS8, "w");
        if (fill != 0) {
          x.fill(range.low == 0 ? 255 : -128);
          w.fill(127 * fill);
        }
        const Int8Linear linear(
            {.weight = w, .input = {.range = range}, .result = Int8Output::kSums});
        CAPTURE(linear.implementation(shape));
        std::vector<double> values = x.to_vector();
        for (double& v : values) v -= static_cast<double>(range.zero_point);
        const Tensor exact =
            vtrain::linear(from_values(shape, values, DType::f64), w.to(DType::f64), {});
        const Tensor y = linear.run(x);
        CHECK(y.shape() == exact.shape());
        CHECK(y.to_vector() == exact.to_vector());
      }
    }
  }
}

/// A layer whose outputs spread over all codes and beyond.
Int8Layer layer_for(const Shape& w, const CodeRange& input, const CodeRange& output) {
  const int64_t taps = numel_of(w) / w[0];
  return {.weight = codes(w, {.low = -127, .high = 127}, "w"),
          .weight_scale = reals({w[0]}, 0.001, 0.004, "scale"),
          .bias = reals({w[0]}, -2, 2, "bias"),
          .input = {.scale = 0.021F, .range = input},
          .output = {.scale = 0.0013F * std::sqrt(static_cast<float>(taps)), .range = output}};
}

int64_t differing(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  REQUIRE(x.size() == y.size());
  int64_t count = 0;
  for (size_t i = 0; i < x.size(); ++i) count += x[i] != y[i];
  return count;
}
TEST_CASE("int8: codes are those of the formula, for every kind of output and activation") {
  for (const Int8Case& c : kCases) {
    CAPTURE(c.name);
    for (const CodeRange& output :
         {kU8, kS8, CodeRange{.low = 0, .high = 255, .zero_point = 40},
          CodeRange{.low = -127, .high = 127}, CodeRange{.low = 0, .high = 15}}) {
      CAPTURE(output.low);
      CAPTURE(output.high);
      CAPTURE(output.zero_point);
      for (const auto activation :
           {Int8Activation::kNone, Int8Activation::kRelu, Int8Activation::kRelu6}) {
        Int8Layer layer = layer_for(c.w, kU8, output);
        layer.activation = activation;
        const Int8Conv2d conv(layer, c.options);
        CAPTURE(conv.implementation(c.x));
        const Tensor x = images(c.x, kU8, "x");
        const Tensor y = conv.run(x);
        CHECK(y.dtype() == code_dtype(output));
        CHECK(differing(y, conv.reference(x)) == 0);
        const std::vector<double> values = y.to_vector();
        const auto [least, most] = std::minmax_element(values.begin(), values.end());
        CHECK(*least < *most);  // else the test says nothing
        CHECK(*least >= static_cast<double>(output.low));
        CHECK(*most <= static_cast<double>(output.high));
      }
    }
  }
}

TEST_CASE("int8: a residual of either sign is added before the activation, in place too") {
  for (const Int8Case& c : kCases) {
    CAPTURE(c.name);
    for (const CodeRange& range : {kU8, kS8, CodeRange{.low = 0, .high = 255, .zero_point = 10}}) {
      Int8Layer layer = layer_for(c.w, kU8, kU8);
      layer.adds_residual = true;
      layer.residual = {.scale = 0.0057F, .range = range};
      layer.activation = Int8Activation::kRelu;
      const Int8Conv2d conv(layer, c.options);
      CAPTURE(conv.implementation(c.x));
      const Tensor x = images(c.x, kU8, "x");
      const Tensor residual = images(conv2d_shape(c.x, c.w, c.options), range, "r");
      const Tensor y = conv.run(x, residual);
      CHECK(differing(y, conv.reference(x, residual)) == 0);
      if (residual.dtype() == DType::u8) {
        Tensor both = residual.clone();
        conv.run(x, both, both);
        CHECK(differing(both, y) == 0);
      }
      layer.adds_residual = false;
      CHECK(differing(Int8Conv2d(layer, c.options).run(x), y) > 0);
    }
  }
}

TEST_CASE("int8: real results are the formula's, with a real residual on top") {
  for (const CodeRange& range : {kU8, kS8, CodeRange{.low = 0, .high = 255, .zero_point = 118}}) {
    Int8Layer layer = layer_for({48, 96}, range, kU8);
    layer.result = Int8Output::kReals;
    const Tensor x = codes({2, 5, 96}, range, "x"), r = reals({2, 5, 48}, -3, 3, "r");
    const Int8Linear bare(layer);
    CAPTURE(bare.implementation({2, 5, 96}));
    CHECK(differing(bare.run(x), bare.reference(x)) == 0);
    layer.adds_residual = true;
    layer.activation = Int8Activation::kRelu;
    const Int8Linear summed(layer);
    CHECK(differing(summed.run(x, r), summed.reference(x, r)) == 0);
    const std::vector<double> y = summed.run(x, r).to_vector(), without = bare.run(x).to_vector(),
                              added = r.to_vector();
    for (size_t i = 0; i < y.size(); ++i)
      CHECK(y[i] == doctest::Approx(std::max(0.0, without[i] + added[i])).epsilon(1e-5));
  }
}

TEST_CASE("int8: one output by hand") {
  // (10 - 2) * 3 + (7 - 2) * -4 = 4; real (4 + 0.6 / 0.02) * 0.02 = 0.68; with the residual
  // (5 - 1) * 0.2 = 0.8: 1.48; in steps of 0.4 3.7, rounded 4, and zero point 6 on top.
  Int8Layer layer{
      .weight = from_values({1, 2}, {3, -4}, DType::i8),
      .weight_scale = full({1}, 0.2),
      .bias = full({1}, 0.6),
      .input = {.scale = 0.1F, .range = {.low = 0, .high = 255, .zero_point = 2}},
      .output = {.scale = 0.4F, .range = {.low = 0, .high = 255, .zero_point = 6}},
      .adds_residual = true,
      .residual = {.scale = 0.2F, .range = {.low = -128, .high = 127, .zero_point = 1}}};
  const Tensor x = from_values({1, 2}, {10, 7}, DType::u8), r = from_values({1, 1}, {5}, DType::i8);
  const Int8Linear linear(layer);
  CHECK(linear.run(x, r).item() == 10);
  CHECK(linear.reference(x, r).item() == 10);
  layer.result = Int8Output::kReals;
  CHECK(Int8Linear(layer).reference(x, full({1, 1}, 0.8)).item() == doctest::Approx(1.48));
  // Relu6 in steps of 0.4: 15.
  layer.adds_residual = false;
  layer.result = Int8Output::kCodes;
  layer.activation = Int8Activation::kRelu6;
  layer.bias = full({1}, 100);
  CHECK(Int8Linear(layer).run(x).item() == 15 + 6);
  layer.bias = full({1}, -100);
  CHECK(Int8Linear(layer).run(x).item() == 6);
}

TEST_CASE("int8: every level of instructions gives the same") {
  testing::check_at_every_level(
      "int8: sums*,int8: codes*,int8: a residual*,int8: real*,int8: one*");
}

TEST_CASE("int8: the library's kernels run where they are exact, ours elsewhere") {
  const Int8Conv2d conv(layer_for({32, 16, 3, 3}, kU8, kU8), {.padding = 1});
  const std::string kernel = conv.implementation({2, 16, 9, 8});
  CAPTURE(kernel);
  CHECK(kernel.starts_with("exact:") == (cpu_level() < CpuLevel::kAvx512Bf16));
  CHECK(kernel.find("ref") == std::string::npos);
}

TEST_CASE("int8: wrong arguments are named") {
  const Int8Layer layer = layer_for({4, 8, 3, 3}, kU8, kU8);
  const Int8Conv2d conv(layer, {.padding = 1});
  CHECK_THROWS_WITH_AS(conv.run(images({1, 8, 4, 4}, kS8, "x")),
                       "[int8_conv2d] x i8 (1, 8, 4, 4) on cpu: expected u8 (1, 8, 4, 4), channels "
                       "last",
                       ShapeError);
  CHECK_THROWS_WITH_AS(conv.run(images({1, 8, 4, 4}, kU8, "x"), images({1, 4, 4, 4}, kU8, "r")),
                       "[int8_conv2d] residual: expected none", ShapeError);
  Int8Layer wide = layer_for({2, 65537}, kU8, kU8);
  CHECK_THROWS_WITH_AS(Int8Linear{wide},
                       "[int8_linear] weight (2, 65537): expected at most 65536 products a sum, so "
                       "that it stays in 32 bits",
                       ShapeError);
  wide.weight = zeros({2, 8});
  CHECK_THROWS_WITH_AS(Int8Linear{wide},
                       "[int8_linear] weight f32 (2, 8) on cpu: expected i8 codes with 2 axes",
                       ShapeError);
}

}  // namespace
}  // namespace vtrain
