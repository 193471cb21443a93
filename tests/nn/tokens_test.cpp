#include "nn/tokens.h"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/arithmetic.h"
#include "tensor/ops/attention.h"
#include "tensor/ops/matmul.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

TEST_CASE("tokens: gather takes mask and bias along and keeps the rest") {
  Tokens t;
  t.x = Variable::leaf(from_values({1, 3, 2}, {0, 1, 10, 11, 20, 21}));
  t.mask = Variable::leaf(from_values({1, 3}, {1, 0, 0.5}));
  t.key_bias = Variable(from_values({1, 3}, {7, 8, 9}));
  t.num_special = 1;
  t.mask_eps = 1e-6;
  t.mask_max_over_all = true;
  const Tokens u = gather(t, Variable(from_values({1, 2}, {0, 2}, DType::i32)));
  CHECK(u.length() == 2);
  CHECK(u.x.value().to_vector() == std::vector<double>{0, 1, 20, 21});
  CHECK(u.mask.value().to_vector() == std::vector<double>{1, 0.5});
  CHECK(u.mask.shape() == Shape{1, 2});
  CHECK(u.key_bias.value().to_vector() == std::vector<double>{7, 9});
  CHECK(u.num_special == 1);
  CHECK(u.mask_eps == 1e-6);
  CHECK(u.mask_max_over_all);
  backward(sum(u.mask * 3));
  CHECK(t.mask.grad().to_vector() == std::vector<double>{3, 0, 3});
}

TEST_CASE("tokens: without mask and bias gather makes none") {
  Tokens t;
  t.x = Variable(zeros({2, 3, 1}));
  const Tokens u = gather(t, Variable(from_values({2, 1}, {1, 2}, DType::i32)));
  CHECK_FALSE(u.mask.defined());
  CHECK_FALSE(u.key_bias.defined());
}

TEST_CASE("tokens: a part that travelled comes back to its rows, the rest stays as it was") {
  Tokens t;
  t.x = Variable::leaf(from_values({2, 4, 1}, {0, 1, 2, 3, 10, 11, 12, 13}));
  t.score = Variable(from_values({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7}));
  t.num_special = 1;
  Tokens part = split(t, Variable(from_values({2, 2}, {0, 2, 0, 3}, DType::i32)));
  CHECK(part.x.value().to_vector() == std::vector<double>{0, 2, 10, 13});
  CHECK_THROWS_AS(split(part, part.index), Error);
  part.x = part.x * 100;
  part.score = part.score * 10;
  const Tokens whole = put_back(part);
  CHECK(whole.x.value().to_vector() == std::vector<double>{0, 1, 200, 3, 1000, 11, 12, 1300});
  CHECK(whole.score.value().to_vector() == std::vector<double>{0, 1, 20, 3, 40, 5, 6, 70});
  CHECK(whole.num_special == 1);
  CHECK(!whole.whole);
  backward(sum(whole.x));
  CHECK(t.x.grad().to_vector() == std::vector<double>{100, 1, 100, 1, 100, 1, 1, 100});
  CHECK_THROWS_AS(put_back(whole), Error);
}

TEST_CASE("tokens: of a part, those that are gathered come back, and the others stand still") {
  Tokens t;
  t.x = Variable(from_values({1, 4, 1}, {0, 1, 2, 3}));
  Tokens part = split(t, Variable(from_values({1, 3}, {0, 1, 3}, DType::i32)));
  part.x = part.x + 10;
  part = gather(part, Variable(from_values({1, 2}, {0, 2}, DType::i32)));
  CHECK(part.index.value().to_vector() == std::vector<double>{0, 3});
  CHECK(put_back(part).x.value().to_vector() == std::vector<double>{10, 1, 2, 13});
}

using Rows = std::vector<double>;

/// Two images, a special token and six patches; nobody has moved yet.
Tokens seven_tokens() {
  Tokens t;
  t.x = Variable(zeros({2, 7, 1}));
  t.num_special = 1;
  t.dest = own_rows(t);
  return t;
}

TEST_CASE("tokens: the source map goes through a gather, a merge and a gather") {
  Tokens t = seven_tokens();
  CHECK(t.dest.dtype() == DType::i32);
  CHECK(t.dest.to_vector() == Rows{1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6});
  t = gather(t, Variable(from_values({2, 5}, {0, 2, 3, 4, 6, 0, 1, 2, 5, 6}, DType::i32)));
  CHECK(t.dest.to_vector() == Rows{-1, 1, 2, 3, -1, 4, 1, 2, -1, -1, 3, 4});
  // The first image's rows 1 and 3 meet, the second's 2, 3 and 4.
  t.dest = follow(t.dest, from_values({2, 5}, {0, 1, 2, 1, 3, 0, 2, 1, 1, 1}, DType::i32));
  CHECK(t.dest.to_vector() == Rows{-1, 1, 2, 1, -1, 3, 2, 1, -1, -1, 1, 1});
  t.x = Variable(zeros({2, 4, 1}));
  t = gather(t, Variable(from_values({2, 3}, {0, 1, 3, 0, 3, 1}, DType::i32)));
  CHECK(t.dest.to_vector() == Rows{-1, 1, -1, 1, -1, 2, -1, 2, -1, -1, 2, 2});
}

TEST_CASE("tokens: without a source map nothing makes one") {
  Tokens t = seven_tokens();
  t.dest = {};
  const Variable index(from_values({2, 2}, {0, 2, 0, 3}, DType::i32));
  CHECK_FALSE(gather(t, index).dest.defined());
  CHECK_FALSE(put_back(split(t, index)).dest.defined());
}

TEST_CASE("tokens: patches that wait while a part travels are where they were") {
  const Tokens t = seven_tokens();
  Tokens part = split(t, Variable(from_values({2, 3}, {0, 2, 4, 0, 1, 6}, DType::i32)));
  CHECK(part.dest.to_vector() == t.dest.to_vector());
  part = gather(part, Variable(from_values({2, 2}, {0, 2, 0, 1}, DType::i32)));
  CHECK(part.dest.to_vector() == t.dest.to_vector());
  CHECK(put_back(part).dest.to_vector() == t.dest.to_vector());
}

TEST_CASE("tokens: a source map that does not fit the tokens is refused") {
  const Tokens t = seven_tokens();
  CHECK_THROWS_WITH_AS(follow(t.dest, from_values({2, 6}, Rows(12, 0), DType::i32)),
                       "[follow] dest: expected rows below 6, got 6", ShapeError);
  CHECK_THROWS_AS(follow(t.dest, from_values({1, 7}, Rows(7, 0), DType::i32)), ShapeError);
}

// One image, two heads of one channel, three tokens; q_0 is 1 and 2.
TEST_CASE("tokens: class attention is the softmax of the first query's products, head by head") {
  Tokens t;
  CHECK_THROWS_AS(class_attention(t), Error);
  const double a = std::log(2.0), b = std::log(3.0);
  t.attended = {.qkv = Variable(from_values({1, 3, 6}, {1, 2, 0, 0, 0, 0,      //
                                                        9, 9, 2 * a, a, 0, 0,  //
                                                        9, 9, 2 * b, 0, 0, 0})),
                .num_heads = 2,
                .qk_dim = 1,
                .v_dim = 1,
                .scale = 0.5};
  const auto is_near = [](const Variable& x, const std::vector<double>& wanted) {
    const std::vector<double> got = x.value().to_vector();
    REQUIRE(got.size() == wanted.size());
    for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(wanted[i]));
  };
  CHECK(class_attention(t).shape() == Shape{1, 2, 3});
  is_near(class_attention(t), {1 / 6., 2 / 6., 3 / 6., 1 / 4., 2 / 4., 1 / 4.});
  t.key_bias = Variable(from_values({1, 3}, {0, 0, a}));  // the last key counts twice
  is_near(class_attention(t), {1 / 9., 2 / 9., 6 / 9., 1 / 5., 2 / 5., 2 / 5.});
  t.mask = Variable(from_values({1, 3}, {1, 0, 1}));
  is_near(class_attention(t), {1 / 7., 0, 6 / 7., 1 / 3., 0, 2 / 3.});
}

TEST_CASE("tokens: class attention is that of the attention kernel") {
  const int64_t heads = 3, dim = 4, length = 5;
  const Tensor noise = Random(3, "", "qkv").normal({2, length, heads * 3 * dim}, {});
  Tokens t;
  t.attended = {
      .qkv = Variable(noise), .num_heads = heads, .qk_dim = dim, .v_dim = dim, .scale = 0.5};
  const Attention whole =
      attention(noise, {}, {}, {.num_heads = heads, .qk_dim = dim, .v_dim = dim, .scale = 0.5});
  const Tensor weights = class_attention(t).value();  // times v: the first row of the kernel's
  for (int64_t h = 0; h < heads; ++h) {
    const Tensor v = noise.slice(2, (2 * heads + h) * dim, (2 * heads + h + 1) * dim);
    const Tensor row = matmul(weights.slice(1, h, h + 1).contiguous(), v.contiguous());
    const std::vector<double> got = row.to_vector(), wanted = whole.out.slice(1, 0, 1)
                                                                  .slice(2, h * dim, (h + 1) * dim)
                                                                  .to_vector();
    for (size_t i = 0; i < got.size(); ++i)
      CHECK(got[i] == doctest::Approx(wanted[i]).epsilon(1e-5));
  }
}

TEST_CASE("tokens: patch tokens are those behind the special ones") {
  Tokens t;
  t.x = Variable(from_values({1, 3, 1}, {1, 2, 3}));
  CHECK(patch_tokens(t).value().to_vector() == std::vector<double>{1, 2, 3});
  t.num_special = 2;
  CHECK(patch_tokens(t).value().to_vector() == std::vector<double>{3});
}

}  // namespace
}  // namespace vtrain
