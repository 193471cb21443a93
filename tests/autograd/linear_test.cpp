#include "autograd/linear.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "tensor/ops/matmul.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(11, "", "linear_test").normal(shape, {}, lane, DType::f64);
}
using Values = std::vector<Variable>;

Variable swapped(const Variable& x) { return transpose(x, -1, -2); }

TEST_CASE("linear: agrees with PyTorch with and without bias, on 2 and 3 axes") {
  const Golden golden("linear");
  const auto with_bias = [](const Values& v) { return linear(v[0], v[1], v[2]); };
  check_golden(golden, "linear_2d", {"input", "weight", "bias"}, with_bias);
  check_golden(golden, "linear_3d", {"input", "weight", "bias"}, with_bias);
  check_golden(golden, "linear_no_bias", {"input", "weight"},
               [](const Values& v) { return linear(v[0], v[1], {}); });
}

TEST_CASE("linear: gradients agree with finite differences") {
  for (const Shape& x : {Shape{3}, Shape{2, 3}, Shape{2, 2, 3}, Shape{1, 1, 3}}) {
    CAPTURE(shape_text(x));
    const GradReport report = gradcheck([](const Values& v) { return linear(v[0], v[1], v[2]); },
                                        {normal(x), normal({4, 3}, 1), normal({4}, 2)});
    CHECK_MESSAGE(report.ok, report.worst);
    const GradReport bare = gradcheck([](const Values& v) { return linear(v[0], v[1], {}); },
                                      {normal(x), normal({4, 3}, 1)});
    CHECK_MESSAGE(bare.ok, bare.worst);
  }
}

TEST_CASE("linear: each input alone gets the right gradient when the others are constants") {
  const Tensor x = normal({2, 3}), w = normal({4, 3}, 1), b = normal({4}, 2);
  const GradReport of_x =
      gradcheck([&](const Variable& v) { return linear(v, Variable(w), b); }, x);
  CHECK_MESSAGE(of_x.ok, of_x.worst);
  const GradReport of_w =
      gradcheck([&](const Variable& v) { return linear(Variable(x), v, b); }, w);
  CHECK_MESSAGE(of_w.ok, of_w.worst);
  const GradReport of_b =
      gradcheck([&](const Variable& v) { return linear(Variable(x), Variable(w), v); }, b);
  CHECK_MESSAGE(of_b.ok, of_b.worst);
}

TEST_CASE("linear: a transposed weight and a sliced input are read by their strides") {
  const GradReport report =
      gradcheck([](const Values& v) { return linear(slice(v[0], 1, 1, 4), swapped(v[1]), {}); },
                {normal({2, 5}), normal({3, 4}, 1)});
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("linear: in bf16 the weight's and the bias's gradients stay wide, also behind a cast") {
  const Variable x = Variable::leaf(normal({9, 5}).to(DType::bf16)),
                 w = Variable::leaf(normal({4, 5}, 1).to(DType::f32)),
                 b = Variable::leaf(normal({4}, 2).to(DType::f32));
  const Variable y = linear(x, cast(w, DType::bf16), b);
  CHECK(y.value().dtype() == DType::bf16);
  const Tensor dy = normal(y.shape(), 3).to(DType::bf16);
  backward(y, dy);
  CHECK(x.grad().dtype() == DType::bf16);
  REQUIRE(w.grad().dtype() == DType::f32);
  REQUIRE(b.grad().dtype() == DType::f32);
  // Nine exact products in f32; rounded to bf16 they would be off by 2e-3.
  const Tensor dy64 = dy.to(DType::f64);
  CHECK(relative_error(w.grad(), linear_grad_w(dy64, x.value().to(DType::f64))) < 1e-6);
  CHECK(relative_error(b.grad(), linear_grad_b(dy64)) < 1e-6);
}

TEST_CASE("linear: shapes that do not fit are named") {
  const Variable x(zeros({2, 3})), w(zeros({4, 5}));
  CHECK_THROWS_WITH_AS(linear(x, w, {}),
                       "[linear] w (4, 5): expected (out, in) with in the last extent of x (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(linear(x, Variable(zeros({4, 3})), Variable(zeros({3}))),
                       "[linear] b (3): expected (out) for w (4, 3)", ShapeError);
}

TEST_CASE("matmul: agrees with PyTorch on 2, 3 and 4 axes and with transposed operands") {
  const Golden golden("linear");
  const auto product = [](const Values& v) { return matmul(v[0], v[1]); };
  check_golden(golden, "matmul_2d", {"input", "other"}, product);
  check_golden(golden, "matmul_3d", {"input", "other"}, product);
  check_golden(golden, "matmul_4d", {"input", "other"}, product);
  check_golden(golden, "matmul_a_transposed", {"a", "b"},
               [](const Values& v) { return matmul(swapped(v[0]), v[1]); });
  check_golden(golden, "matmul_b_transposed", {"a", "b"},
               [](const Values& v) { return matmul(v[0], swapped(v[1])); });
  check_golden(golden, "matmul_both_transposed", {"a", "b"},
               [](const Values& v) { return matmul(swapped(v[0]), swapped(v[1])); });
}

TEST_CASE("matmul: gradients agree with finite differences for every operand layout") {
  struct Layout {
    Shape a, b;
    bool a_swapped, b_swapped;
  };
  const std::vector<Layout> layouts{{{2, 3}, {3, 4}, false, false},
                                    {{3, 2}, {3, 4}, true, false},
                                    {{2, 3}, {4, 3}, false, true},
                                    {{3, 2}, {4, 3}, true, true},
                                    {{2, 2, 3}, {2, 3, 4}, false, false},
                                    {{2, 3, 2}, {2, 4, 3}, true, true},
                                    {{2, 2, 1, 3}, {2, 2, 3, 2}, false, false},
                                    {{1, 1}, {1, 1}, false, false}};
  for (const Layout& l : layouts) {
    CAPTURE(shape_text(l.a));
    CAPTURE(shape_text(l.b));
    const GradReport report = gradcheck(
        [&l](const Values& v) {
          return matmul(l.a_swapped ? swapped(v[0]) : v[0], l.b_swapped ? swapped(v[1]) : v[1]);
        },
        {normal(l.a), normal(l.b, 1)});
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("matmul: a head axis between batch and rows is read without unit stride") {
  // (N, L, heads, d) with heads moved in front: what multi-head products read.
  const GradReport report = gradcheck(
      [](const Values& v) { return matmul(transpose(v[0], 1, 2), transpose(v[1], 1, 2)); },
      {normal({2, 3, 2, 4}), normal({2, 4, 2, 3}, 1)});
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("matmul: shapes that do not fit are named") {
  const Variable a(zeros({2, 3})), b(zeros({4, 5}));
  CHECK_THROWS_WITH_AS(matmul(a, b), "[matmul] b (4, 5): expected (..., K, N) for a (2, 3)",
                       ShapeError);
  CHECK_THROWS_WITH_AS(matmul(Variable(zeros({2, 2, 3})), Variable(zeros({3, 3, 5}))),
                       "[matmul] b (3, 3, 5): expected (..., K, N) for a (2, 2, 3)", ShapeError);
}

TEST_CASE("patchify: followed by linear it is a convolution whose stride is its kernel's size") {
  check_golden(Golden("linear"), "patch_embed", {"images", "weight", "bias"}, [](const Values& v) {
    return linear(patchify(v[0], 3), reshape(v[1], {v[1].dim(0), -1}), v[2]);
  });
}

TEST_CASE("patchify: gradient agrees with finite differences") {
  const GradReport report =
      gradcheck([](const Variable& x) { return patchify(x, 2); }, normal({2, 3, 4, 6}));
  CHECK_MESSAGE(report.ok, report.worst);
}

TEST_CASE("patchify: does not depend on the images' memory order") {
  const Tensor images = normal({2, 3, 4, 6}).to(DType::f32);
  const Variable plain = Variable::leaf(images), last = Variable::leaf(images.channels_last());
  const Variable y = patchify(plain, 2), z = patchify(last, 2);
  CHECK(y.value().to_vector() == z.value().to_vector());
  const Tensor dy = normal(y.shape(), 5).to(DType::f32);
  backward(y, dy);
  backward(z, dy);
  CHECK(plain.grad().to_vector() == last.grad().to_vector());
}

TEST_CASE("patchify: sizes that the patch does not divide are named") {
  CHECK_THROWS_WITH_AS(
      patchify(Variable(zeros({1, 1, 6, 8})), 4),
      "[patchify] images (1, 1, 6, 8): expected height and width divisible by patch 4", ShapeError);
}

}  // namespace
}  // namespace vtrain
