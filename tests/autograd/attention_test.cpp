#include "autograd/attention.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/linear.h"
#include "autograd/normalize.h"
#include "autograd/shape.h"
#include "autograd/tokens.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

AttentionOptions options(int64_t heads, int64_t dim, double eps = 0, MaskMax max = MaskMax::kKept) {
  return {.num_heads = heads,
          .qk_dim = dim,
          .v_dim = dim,
          .scale = 1 / std::sqrt(static_cast<double>(dim)),
          .mask_eps = eps,
          .mask_max = max};
}

Tensor normal(const Shape& shape, int lane = 0, DType dtype = DType::f64) {
  return Random(23, "", "attention_test").normal(shape, {}, lane, dtype);
}

/// Scores of the tests below stay within +-2, and a hidden key's bias of -3 keeps a visible one the
/// row's maximum: where a hidden key is the maximum, the mask's gradient is clipped on purpose.
Tensor small(const Shape& shape, int lane = 0) {
  Tensor x = normal(shape, lane);
  double* const p = x.data<double>();
  for (int64_t i = 0; i < x.numel(); ++i) p[i] = std::tanh(p[i]);
  return x;
}

TEST_CASE("attention: agrees with PyTorch's softmax composition for every kind of mask and bias") {
  const Golden golden("attention");
  const auto check = [&](const char* name, const AttentionOptions& o, bool mask, bool bias) {
    std::vector<std::string> inputs{"qkv"};
    if (mask) inputs.emplace_back("mask");
    if (bias) inputs.emplace_back("key_bias");
    check_golden(golden, name, inputs, [&](const Values& v) {
      return attention(v[0], mask ? v[1] : Variable(), bias ? v.back() : Variable(), o);
    });
  };
  const double eps = 1e-6;
  check("plain", options(2, 4), false, false);
  check("odd", options(3, 3), false, false);
  check("wide", options(1, 16), false, false);
  check("single", options(2, 4), false, false);
  check("masked", options(2, 4), true, false);
  check("soft_mask", options(2, 4), true, false);
  check("biased", options(2, 4), false, true);
  check("masked_biased", options(2, 4), true, true);
  check("eps_kept", options(2, 4, eps), true, false);
  check("eps_all", options(2, 4, eps, MaskMax::kAll), true, false);
  check("all", options(2, 4, 0, MaskMax::kAll), true, false);
}

TEST_CASE("attention: a key at bias minus infinity is hidden, itself included, and takes no NaN") {
  const Golden golden("attention");
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Variable qkv = Variable::leaf(golden("minus_infinity.qkv").to(dtype).clone());
    const Variable bias(golden("minus_infinity.key_bias").to(dtype));
    const Variable y = attention(qkv, {}, bias, options(2, 4));
    backward(y, golden("minus_infinity.dy").to(dtype));
    // The reasons of check_golden's tolerances.
    const bool exact = dtype == DType::f64;
    CHECK(relative_error(y.value(), golden("minus_infinity.y")) <= (exact ? 1e-12 : 1e-5));
    CHECK(relative_error(qkv.grad(), golden("minus_infinity.dqkv")) <= (exact ? 1e-12 : 1e-4));
  }
}

TEST_CASE("attention: it is matmul, softmax, matmul, in values and gradients") {
  const int64_t n = 2, length = 5, heads = 3, dim = 4;
  const Tensor packed = normal({n, length, 3 * heads * dim});
  const Variable a = Variable::leaf(packed.clone()), b = Variable::leaf(packed.clone());
  const Variable y = attention(a, {}, {}, options(heads, dim));
  const auto part = [&](int64_t i) {  // (N, heads, L, dim)
    return transpose(
        reshape(slice(b, 2, i * heads * dim, (i + 1) * heads * dim), {n, length, heads, dim}), 1,
        2);
  };
  const Variable p = softmax(matmul(part(0), transpose(part(1), 2, 3)) * 0.5, 3);
  const Variable z = reshape(transpose(matmul(p, part(2)), 1, 2), {n, length, heads * dim});
  CHECK(relative_error(y.value(), z.value()) < 1e-14);  // f64, a dozen terms per sum
  const Tensor dy = normal(y.shape(), 1);
  backward(y, dy);
  backward(z, dy);
  CHECK(relative_error(a.grad(), b.grad()) < 1e-14);
}

TEST_CASE("attention: gradients agree with finite differences for every kind of mask and bias") {
  const Tensor qkv = small({2, 4, 18});  // 2 heads, dim 3
  const Tensor keep = from_values({2, 4}, {1, 0, 1, 0, 1, 1, 0, 1}, DType::f64);
  const Tensor soft = from_values({2, 4}, {1, 0.5, 0.25, 2, 1, 1, 0.75, 0.5}, DType::f64);
  const Tensor bias = from_values({2, 4}, {0, -3, 0.5, -3, 0.25, 0, -3, -0.5}, DType::f64);
  const Variable fixed_bias(bias);
  const auto check = [](const char* what, const auto& f, const std::vector<Tensor>& inputs,
                        double tolerance = 1e-6) {
    CAPTURE(what);
    const GradReport report = gradcheck(f, inputs, tolerance);
    CHECK_MESSAGE(report.ok, report.worst);
  };
  const AttentionOptions o = options(2, 3), all = options(2, 3, 0, MaskMax::kAll);
  check("plain", [&](const Values& v) { return attention(v[0], {}, {}, o); }, {qkv});
  check("bias", [&](const Values& v) { return attention(v[0], {}, v[1], o); }, {qkv, bias});
  check("soft mask", [&](const Values& v) { return attention(v[0], v[1], {}, o); }, {qkv, soft});
  check("mask", [&](const Values& v) { return attention(v[0], v[1], fixed_bias, o); }, {qkv, keep});
  check("mask, bias", [&](const Values& v) { return attention(v[0], v[1], v[2], o); },
        {qkv, keep, bias});
  check("maximum over all", [&](const Values& v) { return attention(v[0], v[1], v[2], all); },
        {qkv, keep, bias});
  // The maximum is held constant, which is exact for eps = 0 only: the difference is of the size of
  // eps / S with S >= 1.
  for (const MaskMax max : {MaskMax::kKept, MaskMax::kAll}) {
    const AttentionOptions with_eps = options(2, 3, 1e-6, max);
    check(
        "eps", [&](const Values& v) { return attention(v[0], v[1], v[2], with_eps); },
        {qkv, keep, bias}, 1e-5);
  }
}

TEST_CASE("attention: queries and values may have different widths, the scale is free") {
  const AttentionOptions o{.num_heads = 2, .qk_dim = 2, .v_dim = 3, .scale = 0.3};
  const GradReport report = gradcheck([&](const Variable& x) { return attention(x, {}, {}, o); },
                                      small({2, 3, 2 * (2 + 2 + 3)}));
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("attention: one input that needs a gradient gets it when the others are constants") {
  const Tensor qkv = small({1, 3, 6});
  const Tensor mask = from_values({1, 3}, {1, 0.5, 0.25}, DType::f64);
  const GradReport of_mask = gradcheck(
      [&](const Variable& m) { return attention(Variable(qkv), m, {}, options(1, 2)); }, mask);
  CHECK_MESSAGE(of_mask.ok, of_mask.worst);
  const GradReport of_bias = gradcheck(
      [&](const Variable& b) { return attention(Variable(qkv), {}, b, options(1, 2)); }, mask);
  CHECK_MESSAGE(of_bias.ok, of_bias.worst);
}

TEST_CASE("attention: a mask of ones gives the bits of no mask, in values and gradients") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t length : {1, 5, 17, 50}) {
      CAPTURE(length);
      const Tensor x = normal({2, length, 3 * 2 * 8}, 0, dtype);
      const Variable a = Variable::leaf(x.clone()), b = Variable::leaf(x.clone());
      const Variable y = attention(a, {}, {}, options(2, 8));
      const Variable z = attention(b, Variable(ones({2, length}, dtype)), {}, options(2, 8));
      CHECK(y.value().to_vector() == z.value().to_vector());
      const Tensor dy = normal(y.shape(), 1, dtype);
      backward(y, dy);
      backward(z, dy);
      CHECK(a.grad().to_vector() == b.grad().to_vector());
    }
  }
}

// What makes training with masks and running with gathered tokens one network.
TEST_CASE("attention: visible rows under a mask are those of the visible tokens alone") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Variable x(normal({1, 9, 3 * 2 * 8}, 0, dtype));
    const Variable mask = from_values({1, 9}, {1, 0, 1, 1, 0, 0, 1, 0, 1}, dtype);
    const Variable index(from_values({1, 5}, {0, 2, 3, 6, 8}, DType::i32));
    const Variable masked = gather_rows(attention(x, mask, {}, options(2, 8)), index);
    const Variable alone = attention(gather_rows(x, index), {}, {}, options(2, 8));
    // Sums run over other lengths in vector registers, so f32 may differ in the last bits.
    CHECK(relative_error(masked.value(), alone.value()) <= (dtype == DType::f64 ? 0 : 1e-6));
  }
}

TEST_CASE("attention: a hidden token reads itself and the visible ones, nobody reads it") {
  Tensor x = normal({1, 4, 6});
  const Tensor mask = from_values({1, 4}, {1, 1, 0, 1}, DType::f64);
  const Tensor before = attention(Variable(x), Variable(mask), {}, options(1, 2)).value();
  x.select(1, 2).fill(5);
  const Tensor after = attention(Variable(x), Variable(mask), {}, options(1, 2)).value();
  for (const int64_t row : {0, 1, 3}) {
    CHECK(before.select(1, row).to_vector() == after.select(1, row).to_vector());
  }
  CHECK(before.select(1, 2).to_vector() != after.select(1, 2).to_vector());
}

TEST_CASE("attention: all tokens hidden, each reads itself alone") {
  const Tensor x = normal({1, 3, 6});
  const Tensor y =
      attention(Variable(x), Variable(zeros({1, 3}, DType::f64)), {}, options(1, 2)).value();
  CHECK(y.to_vector() == x.slice(2, 4, 6).to_vector());
}

TEST_CASE("attention: the f32 kernel agrees with the f64 reference at sizes of real networks") {
  for (const auto& [length, heads, dim] :
       {std::array<int64_t, 3>{50, 3, 32}, {49, 2, 24}, {197, 3, 64}, {33, 1, 7}, {2, 1, 64}}) {
    CAPTURE(length);
    CAPTURE(dim);
    const Tensor x = normal({1, length, 3 * heads * dim}, 0, DType::f32);
    const Tensor dy = normal({1, length, heads * dim}, 1, DType::f32);
    Tensor mask = ones({1, length});
    for (int64_t j = 1; j < length; j += 3) mask.slice(1, j, j + 1).fill(0);
    const Tensor bias = normal({1, length}, 2, DType::f32);
    Tensor y[2], dx[2], dm[2], db[2];
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Variable qkv = Variable::leaf(x.to(dtype).clone());
      const Variable m = Variable::leaf(mask.to(dtype).clone());
      const Variable b = Variable::leaf(bias.to(dtype).clone());
      const Variable out = attention(qkv, m, b, options(heads, dim));
      backward(out, dy.to(dtype));
      const size_t i = dtype == DType::f64;
      y[i] = out.value(), dx[i] = qkv.grad(), dm[i] = m.grad(), db[i] = b.grad();
    }
    // f32: products of unit normals over up to 64 terms, and an exponential of them.
    CHECK(relative_error(y[0], y[1]) <= 1e-5);
    CHECK(relative_error(dx[0], dx[1]) <= 1e-5);
    CHECK(relative_error(dm[0], dm[1]) <= 1e-5);
    CHECK(relative_error(db[0], db[1]) <= 1e-5);
  }
}

TEST_CASE("attention: what does not fit is named") {
  const Variable qkv(zeros({2, 3, 12}));
  CHECK_THROWS_WITH_AS(
      attention(qkv, {}, {}, options(2, 3)),
      "[attention] qkv: expected (N, L, 18) for 2 heads with qk_dim 3 and v_dim 3, got (2, 3, 12)",
      ShapeError);
  CHECK_THROWS_WITH_AS(attention(qkv, Variable(ones({2, 4})), {}, options(2, 2)),
                       "[attention] mask: expected (2, 3) for qkv (2, 3, 12), got (2, 4)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(attention(qkv, {}, Variable(ones({2, 3}, DType::f64)), options(2, 2)),
                       "[attention] key_bias: expected f32 beside qkv f32, got f64 (2, 3) on cpu",
                       ShapeError);
  CHECK_THROWS_WITH_AS(attention(qkv, {}, {}, options(2, 2, -1)),
                       "[attention] mask_eps: expected at least 0, got -1", ShapeError);
}

}  // namespace
}  // namespace vtrain
