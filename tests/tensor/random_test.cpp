#include "tensor/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace vtrain {
namespace {

using Block = std::array<uint32_t, 4>;

// kat_vectors of Random123 (Salmon et al.), philox4x32 10 rounds.
TEST_CASE("philox: gives the published known answers") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: uniform numbers are inside (0, 1) in f32, ends of the range included") {
  for (const uint32_t bits : {0u, 511u, 0xffffffffu}) {
    const auto u = static_cast<float>(uniform_from_bits(bits));
    CHECK(u > 0.0f);
    CHECK(u < 1.0f);
    CHECK(std::isfinite(std::log(u)));
    CHECK(std::isfinite(std::log1p(-u)));
    CHECK(static_cast<double>(u) == uniform_from_bits(bits));  // no rounding on the way
  }
  CHECK(uniform_from_bits(0) == 0x1p-24);
  CHECK(uniform_from_bits(0xffffffffu) == 1 - 0x1p-24);
}

TEST_CASE("random: a sample's numbers do not depend on how the batch is split") {
  const Random random(1, "train", "x");
  const std::vector<double> whole = random.normal({12, 5}, {7, 0}).to_vector();
  for (const int64_t part : {1, 4, 6}) {
    std::vector<double> split;
    for (int64_t first = 0; first < 12; first += part) {
      for (const double v : random.normal({part, 5}, {7, first}).to_vector()) split.push_back(v);
    }
    CHECK(split == whole);
  }
}

TEST_CASE("random: a sample's first numbers do not depend on how many it takes") {
  const Random random(1, "train", "x");
  const std::vector<double> few = random.uniform({1, 3}, {}).to_vector();
  const std::vector<double> many = random.uniform({1, 11}, {}).to_vector();
  CHECK(std::equal(few.begin(), few.end(), many.begin()));
}

TEST_CASE("random: tensors and single numbers are one stream") {
  const Random random(1, "train", "x");
  const std::vector<double> u = random.uniform({2, 7}, {3, 10}, 2, DType::f64).to_vector();
  for (int64_t n = 0; n < 2; ++n) {
    for (int64_t i = 0; i < 7; ++i) {
      CHECK(u[static_cast<size_t>(n * 7 + i)] == random.uniform(3, 10 + n, i, 2));
    }
  }
}

TEST_CASE("random: seed, phase, name, step, sample and lane each give other numbers") {
  const auto draw = [](uint64_t seed, const char* phase, const char* name, RandomPosition at,
                       int lane) {
    return Random(seed, phase, name).uniform({1, 8}, at, lane).to_vector();
  };
  const std::vector<std::vector<double>> draws{draw(1, "a", "bc", {}, 0),
                                               draw(2, "a", "bc", {}, 0),
                                               draw(1, "ab", "c", {}, 0),
                                               draw(1, "b", "bc", {}, 0),
                                               draw(1, "a", "bd", {}, 0),
                                               draw(1, "a", "bc", {1, 0}, 0),
                                               draw(1, "a", "bc", {0, 1}, 0),
                                               draw(1, "a", "bc", {}, 1),
                                               draw(1, "a", "bc", {int64_t{1} << 32, 0}, 0)};
  for (size_t i = 0; i < draws.size(); ++i) {
    for (size_t j = i + 1; j < draws.size(); ++j) {
      CAPTURE(i);
      CAPTURE(j);
      CHECK(draws[i] != draws[j]);
    }
  }
  CHECK(draw(1, "a", "bc", {}, 0) == draws[0]);
}

TEST_CASE("random: f32 and f64 tensors hold the same numbers") {
  const Random random(1, "", "x");
  const Tensor wide = random.normal({3, 5}, {}, 0, DType::f64);
  CHECK(random.normal({3, 5}, {}).to_vector() == wide.to(DType::f32).to_vector());
}

TEST_CASE("random: moments are those of the distributions") {
  const Random random(5, "", "moments");
  const int64_t n = 100000;
  const auto check = [n](const Tensor& t, double mean, double variance, double fourth) {
    double sum = 0, squares = 0;
    for (const double x : t.to_vector()) sum += x, squares += (x - mean) * (x - mean);
    const auto count = static_cast<double>(n);
    // Four deviations of the estimates.
    CHECK(std::abs(sum / count - mean) < 4 * std::sqrt(variance / count));
    CHECK(std::abs(squares / count - variance) <
          4 * std::sqrt((fourth - variance * variance) / count));
  };
  check(random.uniform({1, n}, {}), 0.5, 1.0 / 12, 1.0 / 80);
  check(random.normal({1, n}, {}), 0, 1, 3);
  const double pi = std::acos(-1);
  check(random.logistic({1, n}, {}), 0, pi * pi / 3, 7 * std::pow(pi, 4) / 15);
}

TEST_CASE("random: a permutation holds every index once, is a function of the step, and shuffles") {
  const Random random(1, "train", "order");
  std::vector<int64_t> order = random.permutation(1000, 3);
  CHECK(order == random.permutation(1000, 3));
  CHECK(order != random.permutation(1000, 4));
  int64_t fixed = 0;
  for (int64_t i = 0; i < 1000; ++i) fixed += order[static_cast<size_t>(i)] == i;
  CHECK(fixed < 10);  // one is expected; ten have probability 1e-7
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  CHECK(random.permutation(0, 0).empty());
  CHECK(random.permutation(1, 0) == std::vector<int64_t>{0});
}

}  // namespace
}  // namespace vtrain
