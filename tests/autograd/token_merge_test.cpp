// Token merging, arXiv:2210.09461: the matching against the algorithm written in PyTorch and worked
// by hand, merges and their gradients.
#include "autograd/token_merge.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.h"
#include "autograd/tokens.h"
#include "tensor/random.h"
#include "tests/golden.h"
#include "tests/tensor/ops/levels.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

const char* const kGoldenCases[] = {"keys", "even", "distilled", "no_special"};

MatchOptions options_of(const Golden& golden, const std::string& name) {
  const std::vector<double> o = golden(name + ".options").to_vector();
  const auto n = [&](size_t i) { return static_cast<int64_t>(o[i]); };
  return {.begin = n(0), .heads = n(1), .width = n(2), .num_special = n(3), .r = n(4)};
}

TEST_CASE("match_tokens: gives the positions of PyTorch's argmax and stable sort") {
  const Golden golden("token_merge");
  for (const std::string name : kGoldenCases) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(name);
      const Tensor x = golden(name + ".source").to(dtype);
      CHECK(match_tokens(x, options_of(golden, name)).to_vector() ==
            golden(name + ".to").to_vector());
    }
  }
}

TEST_CASE("merge_rows: agrees with PyTorch's weighted scatter, values and gradients") {
  const Golden golden("token_merge");
  for (const std::string name : kGoldenCases) {
    const Variable sizes(golden(name + ".sizes")), to(golden(name + ".to"));
    const int64_t rows = golden(name + ".y").dim(1);
    check_golden(golden, name, {"x"},
                 [&](const Values& v) { return merge_rows(v[0], sizes, to, rows); });
    CHECK(merge_sizes(sizes, to, rows).value().to_vector() ==
          golden(name + ".sizes_after").to_vector());
  }
}

/// Unit vectors at these degrees, one token each: (1, L, 2).
Tensor angles(std::initializer_list<double> degrees) {
  std::vector<double> all;
  for (const double d : degrees) {
    all.push_back(std::cos(d * M_PI / 180));
    all.push_back(std::sin(d * M_PI / 180));
  }
  return from_values({1, static_cast<int64_t>(degrees.size()), 2}, all);
}

std::vector<double> match(const Tensor& x, int64_t num_special, int64_t r) {
  return match_tokens(x, {.width = x.dim(2), .num_special = num_special, .r = r}).to_vector();
}

TEST_CASE("match_tokens: five tokens by hand") {
  // A = {class, 10, 80}, B = {0, 90}. 10 finds 0 (apart by 10), 80 finds 90 (by 10 as well).
  CHECK(match(angles({0, 0, 10, 90, 82}), 1, 1) == std::vector<double>{0, 2, 1, 3, 3});
  CHECK(match(angles({0, 0, 8, 90, 80}), 1, 1) == std::vector<double>{0, 2, 2, 3, 1});
  CHECK(match(angles({0, 0, 8, 90, 80}), 1, 2) == std::vector<double>{0, 1, 1, 2, 2});
}

TEST_CASE("match_tokens: ties go to the lower position on both sides") {
  // All alike: the first patches of A merge, all into the first of B.
  CHECK(match(ones({1, 7, 3}), 1, 2) == std::vector<double>{0, 2, 2, 3, 2, 4, 1});
  CHECK(match(ones({1, 6, 3}), 0, 1) == std::vector<double>{2, 2, 0, 3, 1, 4});
}

TEST_CASE("match_tokens: special tokens stay in front, whatever they are like") {
  // Class and distillation token equal to everything: neither moves nor receives.
  const Tensor x = ones({1, 8, 2});
  CHECK(match(x, 2, 3) == std::vector<double>{0, 1, 2, 2, 2, 3, 2, 4});
  CHECK(match(x, 2, 1) == std::vector<double>{0, 1, 4, 4, 2, 5, 3, 6});
}

TEST_CASE(
    "match_tokens: a token of zeros is like nothing, and what is not a number never matches") {
  // Token 2 is zeros: its cosine is 0, below that of 4 (60 degrees apart) and above that of 6.
  Tensor x = angles({0, 0, 0, 0, 60, 0, 170});
  x.slice(1, 2, 3).fill(0);
  CHECK(match(x, 1, 1)[4] == 3);  // 4 merged into B's first
  CHECK(match(x, 1, 2)[2] == 2);  // then 2
  Tensor y = ones({1, 7, 2});
  y.slice(1, 2, 3).fill(std::numeric_limits<double>::quiet_NaN());
  CHECK(match(y, 1, 1) == std::vector<double>{0, 3, 1, 4, 3, 5, 2});
}

TEST_CASE("match_tokens: an image in a batch is matched as it is alone, in any dtype") {
  const MatchOptions options{.begin = 64, .heads = 4, .width = 16, .num_special = 1, .r = 20};
  const Tensor x = Random(3, "", "match").normal({5, 51, 192}, {});
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    CAPTURE(name_of(dtype));
    const Tensor typed = x.to(dtype), all = match_tokens(typed, options);
    for (int64_t n = 0; n < 5; ++n)
      CHECK(match_tokens(typed.slice(0, n, n + 1), options).to_vector() ==
            all.slice(0, n, n + 1).to_vector());
  }
  CHECK(match_tokens(x.to(DType::f64), options).to_vector() ==
        match_tokens(x, options).to_vector());
}

TEST_CASE("match_tokens: the same at every instruction level that the machine has") {
  testing::check_at_every_level("match_tokens: * in any dtype");
  testing::check_at_every_level("match_tokens: gives the positions*");
}

TEST_CASE("merge_rows: a token alone keeps its bits, and merging equals gives them back") {
  const Tensor x = Random(4, "", "merge").normal({2, 5, 3}, {});
  const Tensor to = from_values({2, 5}, {0, 2, 1, 3, 3, 0, 1, 2, 3, 3}, DType::i32);
  const Tensor y = merge_rows(x, {}, to, 4);
  CHECK(y.slice(1, 0, 1).to_vector() == x.slice(1, 0, 1).to_vector());
  Tensor equal = x.clone();
  equal.slice(1, 4, 5).copy_from(equal.slice(1, 3, 4));
  const Tensor merged = merge_rows(equal, full({2, 5}, 2), to, 4);
  CHECK(gather_rows(Variable(merged), Variable(to)).value().to_vector() == equal.to_vector());
}

TEST_CASE("merge_sizes: the sum over rows stays the number of patches") {
  const Tensor x = Random(5, "", "sizes").normal({3, 50, 8}, {});
  Tensor sizes, tokens = x;
  for (int i = 0; i < 4; ++i) {
    const Tensor to = match_tokens(tokens, {.width = 8, .num_special = 1, .r = 9});
    const int64_t rows = tokens.dim(1) - 9;
    tokens = merge_rows(tokens, sizes, to, rows);
    sizes = merge_sizes(sizes, to, rows);
    double total = 0;
    for (const double s : sizes.to_vector()) total += s;
    CHECK(total == 150);
  }
  // The mean over images of all patches is kept too: 50 = sum of sizes, weights s / 50.
  const std::vector<double> s = sizes.slice(0, 0, 1).to_vector(), t = tokens.to_vector(),
                            all = x.to_vector();
  double weighted = 0, mean = 0;
  for (size_t j = 0; j < s.size(); ++j) weighted += s[j] * t[j * 8];
  for (size_t p = 0; p < 50; ++p) mean += all[p * 8];
  CHECK(weighted == doctest::Approx(mean).epsilon(1e-5));
}

TEST_CASE("merge_rows: gradient agrees with finite differences, with and without sizes") {
  const Variable to(from_values({2, 5}, {0, 2, 1, 2, 2, 1, 1, 2, 0, 2}, DType::i32));
  const Variable sizes(from_values({2, 5}, {1, 2, 1, 3, 4, 1, 5, 1, 1, 2}));
  const Tensor x = Random(6, "", "grad").normal({2, 5, 3}, {}, 0, DType::f64);
  for (const Variable& s : {Variable(), sizes}) {
    const GradReport report =
        gradcheck([&](const Variable& v) { return merge_rows(v, s, to, 3); }, x);
    CHECK_MESSAGE(report.ok, report.worst);
  }
}

TEST_CASE("merge_rows: bf16 is summed in f32 and rounded once") {
  // 257 is no bf16: summed so, 256 + 1 + 1 would stay 256.
  const Tensor x = from_values({1, 3, 1}, {256, 1, 1}, DType::bf16),
               to = from_values({1, 3}, {0, 0, 0}, DType::i32);
  CHECK(merge_rows(x, {}, to, 1).to_vector() == std::vector<double>{86});
  CHECK(merge_rows(x, full({1, 3}, 2), to, 1).to_vector() == std::vector<double>{86});
}

TEST_CASE("token_merge: arguments that do not fit are named") {
  const Tensor x = zeros({2, 6, 4});
  CHECK_THROWS_WITH_AS(match_tokens(x, {.width = 4, .num_special = 1, .r = 3}),
                       "[match_tokens] r: expected 0..2 for x (2, 6, 4) with 1 special tokens, got "
                       "3",
                       ShapeError);
  CHECK_THROWS_WITH_AS(match_tokens(x, {.begin = 2, .heads = 2, .width = 2}),
                       "[match_tokens] x (2, 6, 4): expected at least 6 columns for 2 x 2 from 2",
                       ShapeError);
  const Tensor to = from_values({2, 6}, {0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 4, 0}, DType::i32);
  CHECK_THROWS_WITH_AS(merge_rows(x, {}, to, 4), "[merge_rows] to: expected entries in 0..3, got 4",
                       ShapeError);
  CHECK_THROWS_WITH_AS(merge_rows(x, {}, to, 6),
                       "[merge_rows] to: expected every row of 0..5 at least once, got none of 5",
                       ShapeError);
  CHECK_THROWS_WITH_AS(merge_rows(x, zeros({2, 5}), to, 5),
                       "[merge_rows] sizes: expected f32 (2, 6), got f32 (2, 5) on cpu",
                       ShapeError);
  CHECK_THROWS_WITH_AS(merge_rows(zeros({2, 5, 4}), {}, to, 5),
                       "[merge_rows] to: expected i32 (2, 5), got i32 (2, 6) on cpu", ShapeError);
}

}  // namespace
}  // namespace vtrain
