#include "tensor/ops/layer_norm.h"

#include <doctest/doctest.h>

#include "numeric.h"
#include "tensor/parallel.h"

using namespace vtrain;
using namespace vtrain::testing;

namespace {
constexpr double kEps = 1e-5;
}

TEST_CASE("layer_norm: f32 agrees with the f64 reference for every number of channels") {
  for (const int64_t channels : {1, 7, 96, 100, 384}) {
    for (const int64_t rows : {1, 5, 300}) {
      CAPTURE(channels);
      CAPTURE(rows);
      const Tensor x = uniform({rows, channels}, -2, 3, "x", DType::f32),
                   dy = uniform({rows, channels}, -1, 1, "dy", DType::f32);
      const Tensor weight = uniform({channels}, 0.5, 1.5, "weight", DType::f32),
                   bias = uniform({channels}, -1, 1, "bias", DType::f32);
      const LayerNormOutput fast = layer_norm(x, weight, bias, kEps);
      const LayerNormOutput exact =
          layer_norm(x.to(DType::f64), weight.to(DType::f64), bias.to(DType::f64), kEps);
      // Values of size up to 5 and sums of up to 384 terms in f32: a few units of 5 * 6e-8.
      CHECK(max_difference(fast.y, exact.y) < 3e-6);
      CHECK(max_difference(fast.mean, exact.mean) < 1e-6);
      CHECK(max_difference(fast.rstd, exact.rstd) < 1e-6 * max_size(exact.rstd));
      const LayerNormGrads grads = layer_norm_grad(x, weight, fast.mean, fast.rstd, dy);
      const LayerNormGrads exact_grads = layer_norm_grad(x.to(DType::f64), weight.to(DType::f64),
                                                         exact.mean, exact.rstd, dy.to(DType::f64));
      CHECK(max_difference(grads.dx, exact_grads.dx) < 3e-6 * std::max(1.0, max_size(exact.rstd)));
      // Column sums over 300 rows reach about 30.
      CHECK(max_difference(grads.dweight, exact_grads.dweight) < 3e-5);
      CHECK(max_difference(grads.dbias, exact_grads.dbias) < 3e-5);
    }
  }
}

TEST_CASE("layer_norm: gradients agree with central differences") {
  const Tensor x = uniform({2, 3, 7}, -1, 1, "x"), weight = uniform({7}, 0.5, 1.5, "weight"),
               bias = uniform({7}, -1, 1, "bias");
  const Tensor dy = uniform({2, 3, 7}, -1, 1, "dy");
  const LayerNormOutput saved = layer_norm(x, weight, bias, kEps);
  const LayerNormGrads grads = layer_norm_grad(x, weight, saved.mean, saved.rstd, dy);
  const auto loss = [&](const Tensor& at_x, const Tensor& at_weight, const Tensor& at_bias) {
    return dot(layer_norm(at_x, at_weight, at_bias, kEps).y, dy);
  };
  CHECK(gradient_error([&](const Tensor& at) { return loss(at, weight, bias); }, x, grads.dx) <
        kDifferenceError);
  CHECK(gradient_error([&](const Tensor& at) { return loss(x, at, bias); }, weight, grads.dweight) <
        kDifferenceError);
  CHECK(gradient_error([&](const Tensor& at) { return loss(x, weight, at); }, bias, grads.dbias) <
        kDifferenceError);
}

TEST_CASE("layer_norm: an undefined weight is 1 and an undefined bias 0, bit for bit") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = uniform({4, 33}, -1, 1, "x", dtype), dy = uniform({4, 33}, -1, 1, "dy", dtype);
    const LayerNormOutput bare = layer_norm(x, {}, {}, kEps),
                          full = layer_norm(x, ones({33}, dtype), zeros({33}, dtype), kEps);
    CHECK(max_difference(bare.y, full.y) == 0);
    CHECK(max_difference(layer_norm_grad(x, {}, bare.mean, bare.rstd, dy).dx,
                         layer_norm_grad(x, ones({33}, dtype), full.mean, full.rstd, dy).dx) == 0);
  }
}

TEST_CASE("layer_norm: a large common offset does not destroy the variance") {
  // Rows 4096 + {0, 1, ..., 15}: all exact in f32; variance 21.25, so the first entry is -7.5 /
  // sqrt(21.25).
  std::vector<double> values;
  for (int i = 0; i < 16; ++i) values.push_back(4096 + i);
  const LayerNormOutput result = layer_norm(from_values({1, 16}, values), {}, {}, 0);
  CHECK(result.y.to_vector()[0] == doctest::Approx(-7.5 / std::sqrt(21.25)).epsilon(1e-6));
}

TEST_CASE("layer_norm: one thread count gives the same bits every time") {
  const Tensor x = uniform({700, 100}, -1, 1, "x", DType::f32),
               dy = uniform({700, 100}, -1, 1, "dy", DType::f32);
  const LayerNormOutput saved = layer_norm(x, {}, {}, kEps);
  const LayerNormGrads first = layer_norm_grad(x, {}, saved.mean, saved.rstd, dy);
  for (int run = 0; run < 5; ++run) {
    const LayerNormGrads again = layer_norm_grad(x, {}, saved.mean, saved.rstd, dy);
    CHECK(max_difference(first.dweight, again.dweight) == 0);
    CHECK(max_difference(first.dbias, again.dbias) == 0);
  }
}

TEST_CASE("layer_norm: wrong shapes are named") {
  CHECK_THROWS_WITH_AS(layer_norm(zeros({2, 3}), zeros({4}), {}, kEps),
                       "[layer_norm] weight (4): expected (3), one per channel of x (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(layer_norm_grad(zeros({2, 3}), {}, zeros({3}), zeros({2}), zeros({2, 3})),
                       "[layer_norm_grad] mean (3): expected (2), one per row of x (2, 3)",
                       ShapeError);
}
