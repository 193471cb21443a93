#include "tensor/ops/attention.h"

#include <doctest/doctest.h>

#include "numeric.h"
#include "tensor/parallel.h"

using namespace vtrain;
using namespace vtrain::testing;

namespace {

AttentionOptions options_of(int64_t heads, int64_t qk_dim, int64_t v_dim) {
  return {.num_heads = heads,
          .qk_dim = qk_dim,
          .v_dim = v_dim,
          .scale = 1 / std::sqrt(static_cast<double>(qk_dim))};
}
int64_t width_of(const AttentionOptions& o) { return o.num_heads * (2 * o.qk_dim + o.v_dim); }

Tensor to(const Tensor& x, DType dtype) { return x.defined() ? x.to(dtype) : x; }

/// 0 or 1, about half of each; the first token of every image visible.
Tensor hard_mask(const Shape& shape, DType dtype) {
  std::vector<double> values = uniform(shape, 0, 1, "mask").to_vector();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % static_cast<size_t>(shape[1]) == 0 || values[i] < 0.5;
  return from_values(shape, values, dtype);
}

/// Rows `tokens` of axis 1.
Tensor gather(const Tensor& x, const std::vector<int64_t>& tokens) {
  Tensor y = Tensor::empty({x.dim(0), static_cast<int64_t>(tokens.size()), x.dim(2)}, x.dtype());
  for (size_t i = 0; i < tokens.size(); ++i)
    y.select(1, static_cast<int64_t>(i)).copy_from(x.select(1, tokens[i]));
  return y;
}

bool is_finite(const Tensor& x) {
  for (const double v : x.to_vector()) {
    if (!std::isfinite(v)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE(
    "attention: f32 agrees with the f64 reference for every length, head width, mask and bias") {
  const std::vector<AttentionOptions> sizes{options_of(3, 32, 32), options_of(2, 7, 5),
                                            options_of(1, 64, 64), options_of(2, 20, 33)};
  for (const int64_t length : {1, 2, 17, 50, 65, 130}) {
    for (const AttentionOptions& o : sizes) {
      for (const bool masked : {false, true}) {
        for (const bool biased : {false, true}) {
          CAPTURE(length);
          CAPTURE(o.qk_dim);
          CAPTURE(masked);
          CAPTURE(biased);
          const Tensor qkv = uniform({2, length, width_of(o)}, -2, 2, "qkv", DType::f32);
          const Tensor dout =
              uniform({2, length, o.num_heads * o.v_dim}, -1, 1, "dout", DType::f32);
          const Tensor mask = masked ? hard_mask({2, length}, DType::f32) : Tensor();
          const Tensor bias = biased ? uniform({2, length}, -1, 1, "bias", DType::f32) : Tensor();
          const Tensor exact_mask = to(mask, DType::f64), exact_bias = to(bias, DType::f64);
          const Attention fast = attention(qkv, mask, bias, o);
          const Attention exact = attention(qkv.to(DType::f64), exact_mask, exact_bias, o);
          // Logits reach 16 and are rounded at 1e-6 there; values are at most 2.
          CHECK(max_difference(fast.out, exact.out) < 4e-6);
          CHECK(max_difference(fast.row_max, exact.row_max) < 4e-6);
          const AttentionGrads grads = attention_grad(qkv, mask, bias, o, fast, dout);
          const AttentionGrads exact_grads = attention_grad(
              qkv.to(DType::f64), exact_mask, exact_bias, o, exact, dout.to(DType::f64));
          // G reaches v_dim: a relative error of a few 1e-7 of sums of that size.
          const double tolerance = 2e-6 * std::max(1.0, max_size(exact_grads.dqkv));
          CHECK(max_difference(grads.dqkv, exact_grads.dqkv) < tolerance);
          CHECK(grads.dmask.defined() == masked);
          CHECK(grads.dkey_bias.defined() == biased);
          if (masked)
            CHECK(max_difference(grads.dmask, exact_grads.dmask) <
                  3e-6 * std::max(1.0, max_size(exact_grads.dmask)));
          if (biased) CHECK(max_difference(grads.dkey_bias, exact_grads.dkey_bias) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("attention: one head worked by hand") {
  // q = 1, keys 0 and log 3, values 4 and 8: probabilities 1/4 and 3/4 for both queries, output 7.
  const double log3 = std::log(3.0);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor qkv = from_values({1, 2, 3}, {1, 0, 4, 1, log3, 8}, dtype);
    const AttentionOptions o{.num_heads = 1, .qk_dim = 1, .v_dim = 1, .scale = 1};
    const Attention result = attention(qkv, {}, {}, o);
    CHECK(result.out.to_vector()[0] == doctest::Approx(7).epsilon(1e-6));
    CHECK(result.row_max.to_vector()[1] == doctest::Approx(log3).epsilon(1e-6));
    CHECK(result.row_sum.to_vector()[1] == doctest::Approx(4.0 / 3).epsilon(1e-6));
    const std::vector<double> map = attention_map(qkv, {}, {}, o, result).to_vector();
    CHECK(map[0] == doctest::Approx(0.25).epsilon(1e-6));
    CHECK(map[1] == doctest::Approx(0.75).epsilon(1e-6));
    // A bias of log 9 on the first key: 9 : 3.
    const Attention biased = attention(qkv, {}, from_values({1, 2}, {2 * log3, 0}, dtype), o);
    CHECK(biased.out.to_vector()[0] == doctest::Approx(5).epsilon(1e-6));
  }
}

TEST_CASE("attention: heads are those of the packed row, each computed alone") {
  const AttentionOptions o = options_of(3, 8, 5),
                         single = {.num_heads = 1, .qk_dim = 8, .v_dim = 5, .scale = o.scale};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor qkv = uniform({2, 19, width_of(o)}, -1, 1, "qkv", dtype);
    const Attention all = attention(qkv, {}, {}, o);
    for (int64_t h = 0; h < 3; ++h) {
      Tensor part = Tensor::empty({2, 19, 21}, dtype);
      part.slice(2, 0, 8).copy_from(qkv.slice(2, h * 8, h * 8 + 8));
      part.slice(2, 8, 16).copy_from(qkv.slice(2, 24 + h * 8, 24 + h * 8 + 8));
      part.slice(2, 16, 21).copy_from(qkv.slice(2, 48 + h * 5, 48 + h * 5 + 5));
      const Attention one = attention(part, {}, {}, single);
      CHECK(max_difference(one.out, all.out.slice(2, h * 5, h * 5 + 5)) == 0);
      CHECK(max_difference(one.row_sum.select(1, 0), all.row_sum.select(1, h)) == 0);
    }
  }
}

TEST_CASE("attention: gradients agree with central differences, soft masks included") {
  const AttentionOptions o = options_of(2, 3, 2);
  const Tensor qkv = uniform({2, 5, width_of(o)}, -1, 1, "qkv"),
               dout = uniform({2, 5, 4}, -1, 1, "dout");
  const Tensor mask = uniform({2, 5}, 0.2, 1, "mask"), bias = uniform({2, 5}, -1, 1, "bias");
  const auto loss = [&](const Tensor& x, const Tensor& m, const Tensor& b) {
    return dot(attention(x, m, b, o).out, dout);
  };
  const AttentionGrads plain = attention_grad(qkv, {}, {}, o, attention(qkv, {}, {}, o), dout);
  CHECK(gradient_error([&](const Tensor& at) { return loss(at, {}, {}); }, qkv, plain.dqkv) <
        kDifferenceError);
  const AttentionGrads grads =
      attention_grad(qkv, mask, bias, o, attention(qkv, mask, bias, o), dout);
  CHECK(gradient_error([&](const Tensor& at) { return loss(at, mask, bias); }, qkv, grads.dqkv) <
        kDifferenceError);
  CHECK(gradient_error([&](const Tensor& at) { return loss(qkv, at, bias); }, mask, grads.dmask) <
        kDifferenceError);
  CHECK(gradient_error([&](const Tensor& at) { return loss(qkv, mask, at); }, bias,
                       grads.dkey_bias) < kDifferenceError);
}

TEST_CASE(
    "attention: a hidden key's mask gradient agrees with central differences where it is not a "
    "row's maximum") {
  const AttentionOptions o = options_of(2, 3, 2);
  const Tensor qkv = uniform({1, 5, width_of(o)}, -1, 1, "qkv"),
               dout = uniform({1, 5, 4}, -1, 1, "dout");
  const Tensor mask = from_values({1, 5}, {1, 0, 1, 0, 1}, DType::f64);
  const Tensor bias =
      from_values({1, 5}, {0, -6, 0, -6, 0}, DType::f64);  // keeps E of the hidden below 1
  for (const MaskMax over : {MaskMax::kKept, MaskMax::kAll}) {
    AttentionOptions chosen = o;
    chosen.mask_max = over;
    const AttentionGrads grads =
        attention_grad(qkv, mask, bias, chosen, attention(qkv, mask, bias, chosen), dout);
    const auto loss = [&](const Tensor& at) {
      return dot(attention(qkv, at, bias, chosen).out, dout);
    };
    CHECK(gradient_error(loss, mask, grads.dmask) < kDifferenceError);
    CHECK(grads.dmask.to_vector()[1] != 0);
  }
}

TEST_CASE(
    "attention: with eps the gradients agree with central differences up to the constant maximum's "
    "share") {
  AttentionOptions o = options_of(2, 3, 2);
  o.mask_eps = 1e-6;
  const Tensor qkv = uniform({2, 4, width_of(o)}, -1, 1, "qkv"),
               dout = uniform({2, 4, 4}, -1, 1, "dout");
  const Tensor mask = uniform({2, 4}, 0.2, 1, "mask");
  for (const MaskMax over : {MaskMax::kKept, MaskMax::kAll}) {
    o.mask_max = over;
    const AttentionGrads grads =
        attention_grad(qkv, mask, {}, o, attention(qkv, mask, {}, o), dout);
    // The path through the maximum, which the gradient leaves out, is of the order of eps.
    CHECK(
        gradient_error([&](const Tensor& at) { return dot(attention(at, mask, {}, o).out, dout); },
                       qkv, grads.dqkv) < 5e-6);
    CHECK(gradient_error([&](const Tensor& at) { return dot(attention(qkv, at, {}, o).out, dout); },
                         mask, grads.dmask) < 5e-6);
  }
}

TEST_CASE("attention: eps and the choice of maximum, worked by hand") {
  // q = 1, keys 0 and log 3, the second hidden. Query 0: over kept keys E = (1, 3), S = 1; over all
  // E = (1/3, 1), S = 1/3.
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor qkv = from_values({1, 2, 3}, {1, 0, 4, 1, std::log(3.0), 8}, dtype),
                 mask = from_values({1, 2}, {1, 0}, dtype);
    AttentionOptions o{.num_heads = 1, .qk_dim = 1, .v_dim = 1, .scale = 1, .mask_eps = 0.5};
    const auto second = [&] {
      return attention_map(qkv, mask, {}, o, attention(qkv, mask, {}, o)).to_vector()[1];
    };
    CHECK(second() == doctest::Approx(0.25 / 1.5).epsilon(1e-6));
    CHECK(attention(qkv, mask, {}, o).out.to_vector()[0] ==
          doctest::Approx(4 * 1.25 / 1.5 + 8 * 0.25 / 1.5).epsilon(1e-6));
    o.mask_max = MaskMax::kAll;
    CHECK(second() == doctest::Approx(0.3).epsilon(1e-6));
    o.mask_eps = 0;
    CHECK(second() == 0);
  }
}

TEST_CASE("attention: in the mask's gradient a hidden key's exponent is clipped at 0") {
  // As above, values 0 and 1, only query 0 in the loss: r = 0, G_01 = 1, S = 1, so dm_1 = E_01 = 3,
  // clipped 1.
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor qkv = from_values({1, 2, 3}, {1, 0, 0, 1, std::log(3.0), 1}, dtype),
                 mask = from_values({1, 2}, {1, 0}, dtype);
    const AttentionOptions o{.num_heads = 1, .qk_dim = 1, .v_dim = 1, .scale = 1};
    const AttentionGrads grads = attention_grad(qkv, mask, {}, o, attention(qkv, mask, {}, o),
                                                from_values({1, 2, 1}, {1, 0}, dtype));
    CHECK(grads.dmask.to_vector()[1] == doctest::Approx(1).epsilon(1e-6));
    CHECK(grads.dmask.to_vector()[0] == 0);
  }
}

TEST_CASE("attention: a mask of ones changes no bit") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const double eps : {0.0, 1e-6}) {
      for (const int64_t length : {1, 17, 50, 130}) {
        CAPTURE(length);
        AttentionOptions o = options_of(2, 20, 16);
        o.mask_eps = eps;
        const Tensor qkv = uniform({2, length, width_of(o)}, -2, 2, "qkv", dtype),
                     dout = uniform({2, length, 32}, -1, 1, "dout", dtype);
        const Tensor mask = ones({2, length}, dtype);
        const Attention plain = attention(qkv, {}, {}, o), masked = attention(qkv, mask, {}, o);
        CHECK(max_difference(plain.out, masked.out) == 0);
        CHECK(max_difference(plain.row_max, masked.row_max) == 0);
        CHECK(max_difference(plain.row_sum, masked.row_sum) == 0);
        CHECK(max_difference(attention_grad(qkv, {}, {}, o, plain, dout).dqkv,
                             attention_grad(qkv, mask, {}, o, masked, dout).dqkv) == 0);
      }
    }
  }
}

TEST_CASE(
    "attention: kept rows equal attention on the gathered tokens, bit for bit in the reference") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const int64_t length : {2, 17, 50, 65}) {
      CAPTURE(length);
      const AttentionOptions o = options_of(3, 32, 32);
      const Tensor qkv = uniform({1, length, width_of(o)}, -3, 3, "qkv", dtype),
                   mask = hard_mask({1, length}, dtype);
      const std::vector<double> m = mask.to_vector();
      std::vector<int64_t> kept;
      for (int64_t i = 0; i < length; ++i) {
        if (m[static_cast<size_t>(i)] == 1) kept.push_back(i);
      }
      const Tensor of_masked = gather(attention(qkv, mask, {}, o).out, kept);
      const Tensor of_gathered = attention(gather(qkv, kept), {}, {}, o).out;
      // Vectors add in another order: 2e-6 of the largest value is what a fast kernel may differ.
      CHECK(max_difference(of_masked, of_gathered) <= (dtype == DType::f64 ? 0 : 2e-6 * 3));
    }
  }
}

TEST_CASE("attention: a hidden query sees itself") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const AttentionOptions o = options_of(2, 4, 3);
    const Tensor qkv = uniform({1, 50, width_of(o)}, -1, 1, "qkv", dtype);
    const Attention alone =
        attention(qkv, zeros({1, 50}, dtype), {}, o);  // everybody sees itself only
    CHECK(max_difference(alone.out, qkv.slice(2, 16, 22)) == 0);
    Tensor mask = zeros({1, 50}, dtype);
    mask.slice(1, 0, 1).fill(1);
    const Attention with_first = attention(qkv, mask, {}, o);
    const Tensor map = attention_map(qkv, mask, {}, o, with_first);
    const std::vector<double> row = map.select(0, 0).select(0, 0).select(0, 7).to_vector();
    CHECK(row[0] > 0);
    CHECK(row[7] > 0);
    CHECK(row[0] + row[7] == doctest::Approx(1).epsilon(1e-6));
  }
}

TEST_CASE("attention: large logits stay finite, and a large hidden one does no harm") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const AttentionOptions o = options_of(2, 8, 8);
    const Tensor qkv = uniform({2, 33, width_of(o)}, -200, 200, "qkv", dtype),
                 dout = uniform({2, 33, 16}, -1, 1, "dout", dtype);
    for (const Tensor& mask : {Tensor(), hard_mask({2, 33}, dtype)}) {
      const Attention saved = attention(qkv, mask, {}, o);
      const AttentionGrads grads = attention_grad(qkv, mask, {}, o, saved, dout);
      CHECK(is_finite(saved.out));
      CHECK(is_finite(grads.dqkv));
      if (mask.defined()) CHECK(is_finite(grads.dmask));
      for (const double sum : saved.row_sum.to_vector()) CHECK(sum >= 1);
    }
  }
}

TEST_CASE("attention: a key bias of minus infinity hides a key from every query") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const AttentionOptions o = options_of(1, 4, 4);
    const Tensor qkv = uniform({1, 20, 12}, -1, 1, "qkv", dtype),
                 dout = uniform({1, 20, 4}, -1, 1, "dout", dtype);
    Tensor bias = zeros({1, 20}, dtype);
    bias.slice(1, 5, 6).fill(-std::numeric_limits<double>::infinity());
    const Attention saved = attention(qkv, {}, bias, o);
    std::vector<int64_t> others;
    for (int64_t i = 0; i < 20; ++i) {
      if (i != 5) others.push_back(i);
    }
    CHECK(max_difference(gather(saved.out, others), attention(gather(qkv, others), {}, {}, o).out) <
          2e-6);
    CHECK(max_size(
              attention_grad(qkv, {}, bias, o, saved, dout).dqkv.slice(2, 4, 12).slice(1, 5, 6)) ==
          0);  // dk and dv
  }
}

TEST_CASE("attention: results do not depend on the number of threads") {
  const AttentionOptions o = options_of(3, 32, 32);
  const Tensor qkv = uniform({4, 50, width_of(o)}, -1, 1, "qkv", DType::f32),
               dout = uniform({4, 50, 96}, -1, 1, "dout", DType::f32);
  const Tensor mask = hard_mask({4, 50}, DType::f32);
  const int before = num_threads();
  set_num_threads(1);
  const Attention one = attention(qkv, mask, {}, o);
  const AttentionGrads one_grads = attention_grad(qkv, mask, {}, o, one, dout);
  set_num_threads(3);
  const Attention three = attention(qkv, mask, {}, o);
  const AttentionGrads three_grads = attention_grad(qkv, mask, {}, o, three, dout);
  set_num_threads(before);
  CHECK(max_difference(one.out, three.out) == 0);
  CHECK(max_difference(one_grads.dqkv, three_grads.dqkv) == 0);
  CHECK(max_difference(one_grads.dmask, three_grads.dmask) == 0);
}

TEST_CASE("attention: wrong shapes are named") {
  const AttentionOptions o = options_of(2, 4, 3);
  CHECK_THROWS_WITH_AS(
      attention(zeros({2, 5, 7}), {}, {}, o),
      "[attention] qkv: expected (N, L, 22) for 2 heads with qk_dim 4 and v_dim 3, got (2, 5, 7)",
      ShapeError);
  CHECK_THROWS_WITH_AS(attention(zeros({2, 5, 22}), zeros({2, 4}), {}, o),
                       "[attention] mask: expected (2, 5) for qkv (2, 5, 22), got (2, 4)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(attention(zeros({2, 5, 22}), {}, zeros({2, 5}, DType::f64), o),
                       "[attention] key_bias: expected f32 beside qkv f32, got f64 (2, 5) on cpu",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      attention(zeros({2, 5, 22}), {}, {}, {.num_heads = 0, .qk_dim = 4, .v_dim = 3, .scale = 1}),
      "[attention] options: expected num_heads, qk_dim and v_dim of at least 1, got 0, 4 and 3",
      ShapeError);
  const Attention saved = attention(zeros({2, 5, 22}), {}, {}, o);
  CHECK_THROWS_WITH_AS(
      attention_grad(zeros({2, 5, 22}), {}, {}, o, saved, zeros({2, 5, 5})),
      "[attention_grad] dout: expected (2, 5, 6) for qkv (2, 5, 22), got (2, 5, 5)", ShapeError);
}
