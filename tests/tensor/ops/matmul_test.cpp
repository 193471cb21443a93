#include "tensor/ops/matmul.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <string>

#include "tensor/onednn.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane) { return Random(1, "", "m").normal(shape, {}, lane); }

// A sum of K products of unit normals has size sqrt(K) and rounds at 6e-8 per addition, in an order
// of the library's choice.
TEST_CASE("matmul: f32 agrees with the f64 loop at odd and large sizes and in every layout") {
  for (const auto& [m, k, n] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 7, 1},
                                {3, 1, 5},
                                {17, 33, 9},
                                {64, 64, 64},
                                {197, 64, 197},
                                {5, 1000, 3}}) {
    CAPTURE(m);
    CAPTURE(k);
    CAPTURE(n);
    const Tensor a = normal({2, m, k}, 0), b = normal({2, k, n}, 1);
    const Tensor exact = matmul(a.to(DType::f64), b.to(DType::f64));
    const Tensor a_turned = a.transpose(1, 2).contiguous().transpose(1, 2);
    const Tensor b_turned = b.transpose(1, 2).contiguous().transpose(1, 2);
    for (const Tensor& left : {a, a_turned}) {
      for (const Tensor& right : {b, b_turned}) {
        CHECK(relative_error(matmul(left, right), exact) < 1e-5);
      }
    }
    const Tensor w = normal({n, k}, 2), bias = normal({n}, 3);
    const Tensor x = a, wide = linear(x.to(DType::f64), w.to(DType::f64), bias.to(DType::f64));
    CHECK(relative_error(linear(x, w, bias), wide) < 1e-5);
    const Tensor dy = normal({2, m, n}, 4), dy64 = dy.to(DType::f64);
    CHECK(relative_error(linear_grad_x(dy, w), linear_grad_x(dy64, w.to(DType::f64))) < 1e-5);
    CHECK(relative_error(linear_grad_w(dy, x), linear_grad_w(dy64, x.to(DType::f64))) < 1e-5);
    CHECK(relative_error(linear_grad_b(dy), linear_grad_b(dy64)) < 1e-5);
  }
}

// bf16 operands are exact here and sums run in f32, so a result is off by its own rounding: 2^-8 of
// the largest at most. Gradients of weights and biases are not rounded.
TEST_CASE("matmul: bf16 agrees with the f64 loop at odd and large sizes and in every layout") {
  for (const auto& [m, k, n] : {std::array<int64_t, 3>{1, 1, 1},
                                {1, 7, 1},
                                {3, 1, 5},
                                {17, 33, 9},
                                {197, 64, 197},
                                {331, 48, 7},
                                {7, 48, 331},
                                {5, 1000, 3}}) {
    CAPTURE(m);
    CAPTURE(k);
    CAPTURE(n);
    for (const int64_t batch : {1, 3}) {
      const Tensor a = normal({batch, m, k}, 0).to(DType::bf16),
                   b = normal({batch, k, n}, 1).to(DType::bf16);
      const Tensor exact = matmul(a.to(DType::f64), b.to(DType::f64));
      const Tensor a_turned = a.transpose(1, 2).contiguous().transpose(1, 2);
      const Tensor b_turned = b.transpose(1, 2).contiguous().transpose(1, 2);
      for (const Tensor& left : {a, a_turned}) {
        for (const Tensor& right : {b, b_turned}) {
          const Tensor z = matmul(left, right);
          CHECK(z.dtype() == DType::bf16);
          CHECK(relative_error(z, exact) < 1.0 / 256);
        }
      }
    }
    const Tensor x = normal({2, m, k}, 0).to(DType::bf16), w = normal({n, k}, 2).to(DType::bf16),
                 dy = normal({2, m, n}, 4).to(DType::bf16), bias = normal({n}, 3);
    const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64);
    CHECK(relative_error(linear(x, w, bias), linear(x64, w64, bias.to(DType::f64))) < 1.0 / 256);
    CHECK(relative_error(linear(x, w, {}), linear(x64, w64, {})) < 1.0 / 256);
    CHECK(relative_error(linear_grad_x(dy, w), linear_grad_x(dy64, w64)) < 1.0 / 256);
    const Tensor dw = linear_grad_w(dy, x), db = linear_grad_b(dy);
    CHECK(dw.dtype() == DType::f32);
    CHECK(db.dtype() == DType::f32);
    CHECK(relative_error(dw, linear_grad_w(dy64, x64)) < 1e-5);
    CHECK(relative_error(db, linear_grad_b(dy64)) < 1e-5);
  }
}

TEST_CASE("matmul: neither f32 nor bf16 runs a reference loop of oneDNN") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (dtype == DType::bf16 && !onednn::computes_bf16()) continue;
    const onednn::Matmul rows{.m = 300,
                              .k = 64,
                              .n = 96,
                              .a_row = 64,
                              .b_row = 1,
                              .b_column = 64,
                              .has_bias = true,
                              .dtype = dtype,
                              .result = dtype};
    onednn::Matmul packed = rows, weight_gradient{.m = 96,
                                                  .k = 300,
                                                  .n = 64,
                                                  .a_row = 1,
                                                  .a_column = 96,
                                                  .b_row = 64,
                                                  .dtype = dtype};
    packed.packs_b = true;
    for (const onednn::Matmul& product : {rows, packed, weight_gradient}) {
      const std::string name = onednn::implementation(product);
      CHECK_MESSAGE(name.find("ref") == std::string::npos, name);
    }
  }
}

TEST_CASE("matmul: the f64 loop is the sum over k, by hand") {
  const Tensor a = from_values({2, 3}, {1, 2, 3, 4, 5, 6}, DType::f64);
  const Tensor b = from_values({3, 2}, {7, 8, 9, 10, 11, 12}, DType::f64);
  CHECK(matmul(a, b).to_vector() == std::vector<double>{58, 64, 139, 154});
}

TEST_CASE("matmul: empty operands give empty or zero results") {
  CHECK(matmul(zeros({0, 3}), zeros({3, 2})).shape() == Shape{0, 2});
  CHECK(linear(zeros({0, 3}), zeros({2, 3}), {}).shape() == Shape{0, 2});
}

TEST_CASE("matmul: wrong arguments are named") {
  CHECK_THROWS_WITH_AS(matmul(zeros({3}), zeros({3})),
                       "[matmul] b (3): expected (..., K, N) for a (3)", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(zeros({2, 3}), zeros({1, 3, 2})),
                       "[matmul] b (1, 3, 2): expected (..., K, N) for a (2, 3)", ShapeError);
  CHECK_THROWS_WITH_AS(matmul(zeros({2, 3}), zeros({3, 2}, DType::f64)),
                       "[matmul] b: expected f32 like a, got f64 (3, 2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(
      linear(zeros({2, 3}, DType::bf16), zeros({4, 3}, DType::bf16), zeros({4}, DType::bf16)),
      "[linear] b: expected f32, got bf16 (4) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(linear(zeros({2, 3}), zeros({3}), {}),
                       "[linear] w (3): expected (out, in) with in the last extent of x (2, 3)",
                       ShapeError);
}

}  // namespace
}  // namespace vtrain
