#include "compress/parts/rounded_gradient.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace vtrain {
namespace {

const Random kStream(7, "phase", "gradient");

TEST_CASE(
    "rounded gradient: 2^bits levels between the largest of a sample, its own, and its minus") {
  const Tensor dy = Random(3, "", "dy").normal({2, 3000}, {});
  for (const int bits : {2, 4}) {
    CAPTURE(bits);
    const std::vector<double> g = dy.to_vector(),
                              y = rounded_gradient(dy, bits, kStream, {}).to_vector();
    for (const std::ptrdiff_t first : {0, 3000}) {
      double most = 0;
      for (std::ptrdiff_t i = first; i < first + 3000; ++i)
        most = std::max(most, std::abs(g[static_cast<size_t>(i)]));
      const std::set<double> levels(y.begin() + first, y.begin() + first + 3000);
      CHECK(levels.size() <= (size_t{1} << bits));
      CHECK(*levels.begin() >= -most * 1.000001);
      CHECK(*levels.rbegin() <= most * 1.000001);
    }
  }
}

TEST_CASE("rounded gradient: over many draws it is the gradient") {
  // Each sample has the largest 1, so that all round on the same levels; 1e5 draws of each value.
  const std::vector<double> values = {0.31, -0.77, 0.05, 1};
  constexpr int64_t kDraws = 100000;
  std::vector<double> all;
  for (int64_t i = 0; i < kDraws; ++i) all.insert(all.end(), values.begin(), values.end());
  const std::vector<double> y =
      rounded_gradient(from_values({kDraws, 4}, all), 2, kStream, {}).to_vector();
  for (size_t v = 0; v < 3; ++v) {  // the largest is clipped on one side: no mean to keep
    double sum = 0;
    for (size_t i = v; i < y.size(); i += 4) sum += y[i];
    // Two levels 2/3 apart: a deviation of at most 1/3.
    const double bound = 4 * (1.0 / 3) / std::sqrt(static_cast<double>(kDraws));
    CHECK(std::abs(sum / kDraws - values[v]) < bound);
  }
}

TEST_CASE("rounded gradient: noise is that of the step and the sample, zeros stay") {
  const Tensor dy = Random(3, "", "dy").normal({4, 50}, {});
  const auto at = [&](const Tensor& x, RandomPosition position) {
    return rounded_gradient(x, 3, kStream, position).to_vector();
  };
  CHECK(at(dy, {.step = 1}) == at(dy, {.step = 1}));
  CHECK(at(dy, {.step = 1}) != at(dy, {.step = 2}));
  // The second half of a batch as a micro-batch of its own.
  const std::vector<double> whole = at(dy, {.step = 1}),
                            half = at(dy.slice(0, 2, 4), {.step = 1, .first_sample = 2});
  CHECK(std::equal(half.begin(), half.end(), whole.begin() + 100));
  CHECK(at(zeros({2, 3}), {}) == std::vector<double>(6, 0));
}

}  // namespace
}  // namespace vtrain
