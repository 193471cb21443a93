#include "nn/tokens.h"

#include <doctest/doctest.h>

#include "autograd/arithmetic.h"

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

TEST_CASE("tokens: patch tokens are those behind the special ones") {
  Tokens t;
  t.x = Variable(from_values({1, 3, 1}, {1, 2, 3}));
  CHECK(patch_tokens(t).value().to_vector() == std::vector<double>{1, 2, 3});
  t.num_special = 2;
  CHECK(patch_tokens(t).value().to_vector() == std::vector<double>{3});
}

}  // namespace
}  // namespace vtrain
