// Every op on bf16 against the same op on the same numbers, which bf16 holds exactly, in f32 or
// f64.
//
// A bf16 result carries one rounding to 8 bits, at most 2^-9 of its size: kRounding leaves a factor
// of 2. Beside it stands what f32 arithmetic explains, as in the ops' own tests.
#include <doctest/doctest.h>

#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "numeric.h"
#include "tensor/cpu_level.h"
#include "tensor/ops/attention.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/cross_entropy.h"
#include "tensor/ops/gelu.h"
#include "tensor/ops/layer_norm.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/rows.h"
#include "tensor/ops/softmax.h"
#include "tensor/ops/unary.h"
#include "tensor/parallel.h"

using namespace vtrain;
using namespace vtrain::testing;

namespace {

using Values = std::vector<double>;
constexpr double kRounding = 1.0 / 256;

Tensor bf16(const Shape& shape, double low, double high, std::string_view name) {
  return uniform(shape, low, high, name, DType::bf16);
}
Tensor wide(const Tensor& x) { return x.defined() ? x.to(DType::f32) : x; }
Tensor exact(const Tensor& x) { return x.defined() ? x.to(DType::f64) : x; }

bool is_same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && a.to_vector() == b.to_vector();
}

/// Largest part of |actual - expected| that kRounding of the element does not explain.
double unexplained(const Tensor& actual, const Tensor& expected) {
  check_same_shape("unexplained", "actual", actual, "expected", expected);
  CHECK(actual.dtype() == DType::bf16);
  const Values a = actual.to_vector(), e = expected.to_vector();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double off = std::abs(a[i] - e[i]) - kRounding * std::abs(e[i]);
    if (!(off <= worst)) worst = off;
  }
  return worst;
}

/// What the scalar conversion makes of every element.
Values rounded(const Tensor& x) {
  Values values = x.to_vector();
  for (double& v : values) v = static_cast<double>(float(BFloat16(static_cast<float>(v))));
  return values;
}

}  // namespace

TEST_CASE("bf16: a conversion rounds every element to nearest, in every memory order") {
  for (const int64_t n : {1, 3, 8, 31, 100, 70001}) {
    CAPTURE(n);
    const Tensor x = uniform({n}, -3, 3, "x", DType::f32);
    CHECK(x.to(DType::bf16).to_vector() == rounded(x));
    CHECK(is_same(x.to(DType::bf16).to(DType::f32).to(DType::bf16), x.to(DType::bf16)));
  }
  const Tensor x = uniform({3, 5, 7, 9}, -3, 3, "x", DType::f32);
  const std::vector<Tensor> orders{
      x,
      x.channels_last(),
      x.channels_last().slice(1, 1, 4),
      x.channels_last().slice(3, 2, 7),
      x.slice(2, 1, 6),
      x.transpose(0, 2),
      x.channels_last().transpose(1, 3),
      x.select(1, 2),
      x.slice(1, 0, 1),
      x.reshape({3, 5, 63}).transpose(1, 2),
  };
  for (const Tensor& order : orders) {
    const Tensor half = order.to(DType::bf16);
    CHECK(half.to_vector() == rounded(order));
    Tensor back = zeros_like(order);
    back.copy_from(half);
    CHECK(back.to_vector() == half.to_vector());
    // From bf16 of this order into the others.
    Tensor rows = Tensor::empty(order.shape());
    rows.copy_from(half);
    CHECK(rows.to_vector() == half.to_vector());
  }
  CHECK(x.channels_last().to(DType::bf16).is_channels_last());
  const double infinity = std::numeric_limits<double>::infinity();
  const Values ends = from_values({20}, Values(20, infinity)).to(DType::bf16).to_vector();
  CHECK(ends == Values(20, infinity));
  for (const double v : from_values({20}, Values(20, std::numeric_limits<double>::quiet_NaN()))
                            .to(DType::bf16)
                            .to_vector()) {
    CHECK(std::isnan(v));
  }
}

TEST_CASE("bf16: arithmetic is that of f32, rounded once, for every broadcast and memory order") {
  const auto check_all = [](const Tensor& a, const Tensor& b) {
    CAPTURE(a.text());
    CAPTURE(b.text());
    using Op = Tensor (*)(const Tensor&, const Tensor&);
    for (const Op op : {Op(add), Op(subtract), Op(multiply), Op(divide)}) {
      CHECK(is_same(op(a, b), op(wide(a), wide(b)).to(DType::bf16)));
      CHECK(is_same(op(a, wide(b)), op(wide(a), wide(b))));
      CHECK(is_same(op(wide(a), b), op(wide(a), wide(b))));
    }
  };
  for (const int64_t n : {1, 2, 17, 1024, 1025, 40001})
    check_all(bf16({n}, -2, 2, "a"), bf16({n}, 1, 2, "b"));
  const Tensor a = bf16({2, 3, 4, 5}, -2, 2, "a");
  for (const Shape& shape : {Shape{5}, {4, 1}, {3, 1, 1}, {2, 1, 1, 1}, {1, 3, 4, 5}, {1}}) {
    check_all(a, bf16(shape, 1, 2, "b"));
    check_all(bf16(shape, 1, 2, "b"), add(a, 5));
    check_all(a.channels_last(), bf16(shape, 1, 2, "b"));
  }
  check_all(a.channels_last(), a.channels_last());
  check_all(a.channels_last(), a);
  check_all(a.transpose(0, 3), a.transpose(0, 3));
  check_all(a.slice(3, 1, 4), a.slice(3, 1, 4));
  check_all(bf16({3, 2500}, -2, 2, "long"), bf16({3, 1}, 1, 2, "b"));
  CHECK(add(a.channels_last(), wide(a).channels_last()).is_channels_last());
  CHECK(add(zeros({0, 3}, DType::bf16), zeros({3}, DType::bf16)).shape() == Shape{0, 3});
}

TEST_CASE("bf16: beside f32 the result is f32, but a scalar widens nothing") {
  const Tensor x = ones({2}, DType::bf16), scalar = full({}, 1 + 0x1p-9);
  CHECK(add(x, ones({2})).dtype() == DType::f32);
  CHECK(add(ones({1}), x).dtype() == DType::f32);
  CHECK(add(x, scalar).dtype() == DType::bf16);
  CHECK(add(scalar, x).dtype() == DType::bf16);
  CHECK(add(scalar, full({}, 1, DType::bf16)).dtype() == DType::f32);
  CHECK(add(full({}, 1, DType::bf16), ones({2})).dtype() == DType::f32);
  // A double is not rounded before it is used: 1 + 2^-8 in bf16 would be 1.
  CHECK(multiply(full({1}, 3, DType::bf16), 1 + 0x1p-8).item() == 3.015625);
  CHECK_THROWS_WITH_AS(add(x, zeros({2}, DType::f64)),
                       "[add] b: expected bf16 like a, got f64 (2) on cpu", ShapeError);
}

TEST_CASE("bf16: accumulate adds in f32 and rounds once") {
  for (const int64_t n : {1, 17, 1025, 40001}) {
    Tensor y = bf16({n}, -2, 2, "y");
    const Tensor x = bf16({n}, -2, 2, "x"), expected = add(y, x);
    accumulate(y, x);
    CHECK(is_same(y, expected));
  }
  Tensor y = bf16({2, 3, 4, 5}, -2, 2, "y");
  const Tensor x = bf16({2, 3, 4, 5}, -2, 2, "x"), expected = add(y, x);
  accumulate(y, x.channels_last());
  CHECK(is_same(y, expected));
}

TEST_CASE("bf16: functions of one element are those of f32, rounded once") {
  using Op = Tensor (*)(const Tensor&);
  for (const int64_t n : {1, 2, 17, 1025, 10001}) {
    const Tensor x = bf16({n}, 0.1, 3, "x"), y = bf16({n}, -8, 8, "y"), dy = bf16({n}, -1, 1, "dy");
    for (const Op op : {Op(exp), Op(log), Op(sqrt), Op(square), Op(sigmoid), Op(relu), Op(negate)})
      CHECK(is_same(op(x), op(wide(x)).to(DType::bf16)));
    for (const Op op : {Op(square), Op(sigmoid), Op(relu), Op(negate)})
      CHECK(is_same(op(y), op(wide(y)).to(DType::bf16)));
    CHECK(is_same(at_least(y, 0.5), at_least(wide(y), 0.5).to(DType::bf16)));
    CHECK(is_same(clamp(y, 0, 6), clamp(wide(y), 0, 6).to(DType::bf16)));
    CHECK(
        is_same(where_inside(y, 0, 6, dy), where_inside(wide(y), 0, 6, wide(dy)).to(DType::bf16)));
  }
  const Tensor x = bf16({2, 3, 4, 5}, -2, 2, "x");
  CHECK(relu(x.channels_last()).is_channels_last());
  CHECK(is_same(relu(x.channels_last()), relu(x)));
  CHECK(is_same(relu(x.slice(2, 1, 3)), relu(x).slice(2, 1, 3)));
}

TEST_CASE("bf16: sums come in f32 and have the bits of the widened tensor's") {
  const Tensor x = bf16({3, 70, 5, 33}, -1, 2, "x");
  for (const std::vector<int>& dims :
       std::vector<std::vector<int>>{{}, {0}, {1}, {3}, {0, 1}, {1, 2}, {2, 3}, {0, 3}}) {
    for (const Tensor& order : {x, x.channels_last(), x.transpose(1, 3)}) {
      CHECK(is_same(sum(order, dims), sum(wide(order), dims)));
      CHECK(is_same(mean(order, dims, true), mean(wide(order), dims, true)));
    }
  }
  CHECK(is_same(sum_to(x, {70, 1, 33}), sum_to(wide(x), {70, 1, 33})));
  CHECK(sum_to(x, x.shape()).dtype() == DType::bf16);
  const Tensor rows = bf16({9, 13}, -1, 1, "rows");
  CHECK(is_same(argmax_rows(rows), argmax_rows(wide(rows))));
}

TEST_CASE("bf16: rows, patches and parts move as they are; a sum of rows is f32") {
  const Tensor x = bf16({2, 6, 5}, -1, 1, "x");
  const Tensor index = from_values({2, 4}, {5, 0, 0, 3, 1, 2, 2, 2}, DType::i32);
  CHECK(is_same(gather_rows(x, index), gather_rows(wide(x), index).to(DType::bf16)));
  const Tensor dy = bf16({2, 4, 5}, -1, 1, "dy");
  CHECK(is_same(gather_rows_grad(dy, index, 6), gather_rows_grad(wide(dy), index, 6)));
  const Tensor images = bf16({2, 3, 8, 12}, -1, 1, "images").channels_last();
  const Tensor patches = patchify(images, 4);
  CHECK(is_same(patches, patchify(wide(images), 4).to(DType::bf16)));
  CHECK(is_same(patchify_grad(patches, 4, images.shape()), images));
  const Tensor score = bf16({3, 50}, -1, 1, "score");  // 7 bits: ties are common
  CHECK(is_same(select_top(score, 20), select_top(wide(score), 20)));
  CHECK(is_same(concat({x, x.slice(1, 2, 4)}, 1),
                concat({wide(x), wide(x).slice(1, 2, 4)}, 1).to(DType::bf16)));
  CHECK_THROWS_WITH_AS(concat({x, wide(x)}, 1),
                       "[concat] part: expected bf16 like part 0, got f32 (2, 6, 5) on cpu",
                       ShapeError);
}

TEST_CASE("bf16: gelu agrees with the f64 reference up to one rounding") {
  for (const int64_t n : {1, 7, 96, 100, 40001}) {
    CAPTURE(n);
    const Tensor x = bf16({n}, -8, 8, "x"), dy = bf16({n}, -1, 1, "dy");
    CHECK(unexplained(gelu(x), gelu(exact(x))) < 5e-7 * 8);
    CHECK(unexplained(gelu_grad(x, dy), gelu_grad(exact(x), exact(dy))) < 5e-7);
  }
  const Tensor x = bf16({2, 3, 5, 4}, -2, 2, "x"), dy = bf16({2, 3, 5, 4}, -1, 1, "dy");
  CHECK(gelu(x.channels_last()).is_channels_last());
  CHECK(is_same(gelu(x.channels_last()), gelu(x)));
  CHECK(is_same(gelu_grad(x.channels_last(), dy), gelu_grad(x, dy)));
  CHECK(is_same(gelu(x.slice(2, 1, 4)), gelu(x).slice(2, 1, 4)));
}

TEST_CASE("bf16: layer norm agrees with the f64 reference, its sums and parameters in f32") {
  constexpr double eps = 1e-5;
  for (const int64_t channels : {1, 7, 96, 100, 384}) {
    for (const int64_t rows : {1, 5, 300}) {
      CAPTURE(channels);
      CAPTURE(rows);
      const Tensor x = bf16({rows, channels}, -2, 3, "x"), dy = bf16({rows, channels}, -1, 1, "dy");
      const Tensor weight = uniform({channels}, 0.5, 1.5, "weight", DType::f32),
                   bias = uniform({channels}, -1, 1, "bias", DType::f32);
      const LayerNormOutput fast = layer_norm(x, weight, bias, eps);
      const LayerNormOutput reference = layer_norm(exact(x), exact(weight), exact(bias), eps);
      CHECK(unexplained(fast.y, reference.y) < 3e-6);
      CHECK(fast.mean.dtype() == DType::f32);
      CHECK(max_difference(fast.mean, reference.mean) < 1e-6);
      CHECK(max_difference(fast.rstd, reference.rstd) < 1e-6 * max_size(reference.rstd));
      const LayerNormGrads grads = layer_norm_grad(x, weight, fast.mean, fast.rstd, dy);
      const LayerNormGrads expected =
          layer_norm_grad(exact(x), exact(weight), reference.mean, reference.rstd, exact(dy));
      CHECK(unexplained(grads.dx, expected.dx) < 3e-6 * std::max(1.0, max_size(reference.rstd)));
      CHECK(grads.dweight.dtype() == DType::f32);
      CHECK(max_difference(grads.dweight, expected.dweight) < 3e-5);
      CHECK(max_difference(grads.dbias, expected.dbias) < 3e-5);
      CHECK(unexplained(layer_norm(x, {}, {}, eps).y, layer_norm(exact(x), {}, {}, eps).y) < 3e-6);
    }
  }
  CHECK_THROWS_WITH_AS(layer_norm(zeros({2, 3}, DType::bf16), zeros({3}, DType::bf16), {}, eps),
                       "[layer_norm] weight: expected f32 beside x bf16, got bf16 (3) on cpu",
                       ShapeError);
}

TEST_CASE("bf16: softmax and log softmax agree with the f64 reference along every axis") {
  for (const int64_t n : {1, 2, 17, 100}) {
    for (const int dim : {0, 1, 2}) {
      CAPTURE(n);
      CAPTURE(dim);
      const Tensor x = bf16({3, n, n}, -6, 6, "x"), dy = bf16({3, n, n}, -1, 1, "dy");
      const Tensor y = softmax(x, dim), log_y = log_softmax(x, dim);
      CHECK(unexplained(y, softmax(exact(x), dim)) < 1e-6);
      CHECK(unexplained(log_y, log_softmax(exact(x), dim)) < 2e-6);
      CHECK(unexplained(softmax_grad(y, dy, dim), softmax_grad(exact(y), exact(dy), dim)) < 1e-6);
      CHECK(unexplained(log_softmax_grad(log_y, dy, dim),
                        log_softmax_grad(exact(log_y), exact(dy), dim)) < 1e-5);
    }
  }
  const Tensor x = bf16({4, 6}, -2, 2, "x");
  CHECK(is_same(softmax(x.transpose(0, 1), 0), softmax(x.transpose(0, 1).contiguous(), 0)));
}

TEST_CASE("bf16: cross entropy of bf16 logits is the f32 loss of the same numbers, bit for bit") {
  const Tensor logits = bf16({7, 13}, -9, 9, "logits"),
               targets = softmax(uniform({7, 13}, -1, 1, "targets", DType::f32), 1);
  const CrossEntropy half = cross_entropy(logits, targets),
                     full = cross_entropy(wide(logits), targets);
  CHECK(is_same(half.loss, full.loss));
  CHECK(is_same(half.probabilities, full.probabilities));
  CHECK_THROWS_WITH_AS(cross_entropy(logits, targets.to(DType::bf16)),
                       "[cross_entropy] targets: expected f32 or f64, got bf16 (7, 13) on cpu",
                       ShapeError);
}

namespace {

AttentionOptions options_of(int64_t heads, int64_t qk_dim, int64_t v_dim) {
  return {.num_heads = heads,
          .qk_dim = qk_dim,
          .v_dim = v_dim,
          .scale = 1 / std::sqrt(static_cast<double>(qk_dim))};
}
int64_t width_of(const AttentionOptions& o) { return o.num_heads * (2 * o.qk_dim + o.v_dim); }

/// 0 or 1, about half of each; the first token of every image visible.
Tensor hard_mask(const Shape& shape) {
  Values values = uniform(shape, 0, 1, "mask").to_vector();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % static_cast<size_t>(shape[1]) == 0 || values[i] < 0.5;
  return from_values(shape, values);
}

}  // namespace

TEST_CASE("bf16: attention agrees with the f64 reference for every length, width, mask and bias") {
  for (const int64_t length : {1, 2, 17, 50, 65, 130}) {
    for (const AttentionOptions& o : {options_of(3, 32, 32), options_of(2, 7, 5),
                                      options_of(1, 64, 64), options_of(2, 20, 33)}) {
      for (const bool masked : {false, true}) {
        for (const bool biased : {false, true}) {
          CAPTURE(length);
          CAPTURE(o.qk_dim);
          CAPTURE(masked);
          CAPTURE(biased);
          const Tensor qkv = bf16({2, length, width_of(o)}, -2, 2, "qkv"),
                       dout = bf16({2, length, o.num_heads * o.v_dim}, -1, 1, "dout");
          const Tensor mask = masked ? hard_mask({2, length}) : Tensor();
          const Tensor bias = biased ? uniform({2, length}, -1, 1, "bias", DType::f32) : Tensor();
          const Attention fast = attention(qkv, mask, bias, o);
          const Attention reference = attention(exact(qkv), exact(mask), exact(bias), o);
          // Logits reach 16 and are rounded at 1e-6 there; values are at most 2.
          CHECK(unexplained(fast.out, reference.out) < 4e-6);
          CHECK(fast.row_max.dtype() == DType::f32);
          CHECK(max_difference(fast.row_max, reference.row_max) < 4e-6);
          const AttentionGrads grads = attention_grad(qkv, mask, bias, o, fast, dout);
          const AttentionGrads expected =
              attention_grad(exact(qkv), exact(mask), exact(bias), o, reference, exact(dout));
          CHECK(unexplained(grads.dqkv, expected.dqkv) <
                2e-6 * std::max(1.0, max_size(expected.dqkv)));
          if (masked) {
            CHECK(grads.dmask.dtype() == DType::f32);
            CHECK(max_difference(grads.dmask, expected.dmask) <
                  3e-6 * std::max(1.0, max_size(expected.dmask)));
          }
          if (biased) CHECK(max_difference(grads.dkey_bias, expected.dkey_bias) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("bf16: attention's other paths: eps, maximum over all keys, the map") {
  const AttentionOptions plain = options_of(2, 20, 33);
  const Tensor qkv = bf16({2, 17, width_of(plain)}, -2, 2, "qkv"),
               dout = bf16({2, 17, 66}, -1, 1, "dout"), mask = hard_mask({2, 17});
  for (const double mask_eps : {0.0, 1e-3}) {
    AttentionOptions o = plain;
    o.mask_eps = mask_eps;
    o.mask_max = MaskMax::kAll;
    const Attention fast = attention(qkv, mask, {}, o), full = attention(wide(qkv), mask, {}, o);
    CHECK(is_same(fast.out, full.out.to(DType::bf16)));
    CHECK(is_same(fast.row_sum, full.row_sum));
    const AttentionGrads grads = attention_grad(qkv, mask, {}, o, fast, dout),
                         expected = attention_grad(wide(qkv), mask, {}, o, full, wide(dout));
    CHECK(is_same(grads.dqkv, expected.dqkv.to(DType::bf16)));
    CHECK(is_same(grads.dmask, expected.dmask));
    CHECK(is_same(attention_map(qkv, mask, {}, o, fast),
                  attention_map(wide(qkv), mask, {}, o, full)));
  }
  CHECK_THROWS_WITH_AS(attention(qkv, mask.to(DType::f64), {}, plain),
                       "[attention] mask: expected f32 beside qkv bf16, got f64 (2, 17) on cpu",
                       ShapeError);
}

TEST_CASE("bf16: in attention a mask of ones changes no bit, nor does the number of threads") {
  const int before = num_threads();
  for (const int64_t length : {1, 17, 50, 130}) {
    const AttentionOptions o = options_of(3, 32, 20);
    const Tensor qkv = bf16({2, length, width_of(o)}, -2, 2, "qkv"),
                 dout = bf16({2, length, 60}, -1, 1, "dout"), mask = ones({2, length});
    set_num_threads(1);
    const Attention bare = attention(qkv, {}, {}, o);
    const Tensor dqkv = attention_grad(qkv, {}, {}, o, bare, dout).dqkv;
    set_num_threads(3);
    const Attention masked = attention(qkv, mask, {}, o);
    CHECK(is_same(bare.out, masked.out));
    CHECK(is_same(dqkv, attention_grad(qkv, mask, {}, o, masked, dout).dqkv));
    set_num_threads(before);
  }
}

TEST_CASE("bf16: kept rows of masked attention equal attention on the gathered tokens") {
  const AttentionOptions o = options_of(3, 32, 32);
  const Tensor qkv = bf16({1, 50, width_of(o)}, -3, 3, "qkv"), mask = hard_mask({1, 50});
  const Values m = mask.to_vector();
  Values kept;
  for (size_t i = 0; i < m.size(); ++i) {
    if (m[i] == 1) kept.push_back(static_cast<double>(i));
  }
  const Tensor index = from_values({1, static_cast<int64_t>(kept.size())}, kept, DType::i32);
  const Tensor masked = gather_rows(attention(qkv, mask, {}, o).out, index),
               gathered = attention(gather_rows(qkv, index), {}, {}, o).out;
  // f32 sums in another order can fall to the other side of a rounding.
  CHECK(unexplained(masked, exact(gathered)) < 6e-6);
}

TEST_CASE("bf16: the level is one that the machine has") {
  CHECK_FALSE(name_of(cpu_level()).empty());
}

// The ops' own tests, f32 against f64, run along: each level is another set of kernels.
TEST_CASE("ops: the same at every instruction level that the machine has") {
  if (std::getenv("VTRAIN_CPU_LEVEL") != nullptr) return;  // this is such a run
  const std::string self = VTRAIN_BINARY_DIR "/vtrain_tests";
  int levels = 0;
  for (const std::string level : {"baseline", "avx2", "avx512", "avx512_bf16"}) {
    CAPTURE(level);
    const std::string run = str("VTRAIN_CPU_LEVEL=", level, ' ', self, " -tc='");
    if (std::system((run + "bf16: the level is one*' > /dev/null 2>&1").c_str()) != 0) {
      MESSAGE("skipped: this machine lacks ", level);
      continue;
    }
    CHECK(std::system((run + "bf16: *,gelu: *,layer_norm: *,softmax: *,attention: *,reduce: *' "
                             "> /dev/null 2>&1")
                          .c_str()) == 0);
    ++levels;
  }
  CHECK(levels > 0);  // every machine has the baseline
}
