#include "compress/parts/triplets.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <tuple>

#include "autograd/gradcheck.h"

namespace vtrain {
namespace {

using doctest::Approx;
using Indices = std::tuple<int64_t, int64_t, int64_t>;

std::vector<Indices> indices_of(const std::vector<Triplet>& triplets) {
  std::vector<Indices> all;
  for (const Triplet& t : triplets) all.emplace_back(t.i, t.j, t.k);
  return all;
}

Tensor normal(const Shape& shape, int lane) {
  return Random(7, "", "triplets").normal(shape, {}, lane, DType::f64);
}

/// |u_a - u_b|^2 in plain loops, u the rows of x divided by their lengths.
double distance(const Tensor& x, int64_t a, int64_t b) {
  const std::vector<double> va = x.select(0, a).to_vector(), vb = x.select(0, b).to_vector();
  double aa = 0, bb = 0, sum = 0;
  for (size_t d = 0; d < va.size(); ++d) {
    aa += va[d] * va[d];
    bb += vb[d] * vb[d];
  }
  for (size_t d = 0; d < va.size(); ++d)
    sum += std::pow(va[d] / std::sqrt(aa) - vb[d] / std::sqrt(bb), 2);
  return sum;
}

TEST_CASE("triplets: a ring takes every image with its next two") {
  CHECK(indices_of(ring_triplets(4)) ==
        std::vector<Indices>{{0, 1, 2}, {1, 2, 3}, {2, 3, 0}, {3, 0, 1}});
  CHECK(ring_triplets(3).size() == 3);
  CHECK(ring_triplets(2).empty());
}

TEST_CASE("triplets: all are each pair of others once, for every image") {
  CHECK(indices_of(all_triplets(3)) == std::vector<Indices>{{0, 1, 2}, {1, 0, 2}, {2, 0, 1}});
  const std::vector<Indices> all = indices_of(all_triplets(7));
  CHECK(all.size() == 7 * 6 * 5 / 2);
  CHECK(std::set<Indices>(all.begin(), all.end()).size() == all.size());
  CHECK(all_triplets(2).empty());
}

TEST_CASE("triplets: random ones are of different images, drawn by position alone") {
  const Random stream(1, "phase", "triplets");
  std::set<Indices> seen;
  for (int64_t step = 0; step < 200; ++step) {
    const std::vector<Triplet> triplets = random_triplets(4, stream, {.step = step});
    REQUIRE(triplets.size() == 4);
    for (int64_t i = 0; i < 4; ++i) {
      const Triplet& t = triplets[static_cast<size_t>(i)];
      CHECK(t.i == i);
      CHECK(std::set<int64_t>{t.i, t.j, t.k}.size() == 3);
      CHECK(std::max(t.j, t.k) < 4);
    }
    for (const Indices& t : indices_of(triplets)) seen.insert(t);
  }
  CHECK(seen.size() == 4 * 3 * 2);  // every one comes
  const auto at = [&](RandomPosition position) {
    return indices_of(random_triplets(5, stream, position));
  };
  CHECK(at({.step = 3}) == at({.step = 3}));
  CHECK(at({.step = 3}) != at({.step = 4}));
  CHECK(at({.step = 3}) != at({.step = 3, .first_sample = 5}));
  CHECK(random_triplets(2, stream, {}).empty());
}

TEST_CASE("triplets: nearness is the difference of two squared distances, in plain loops") {
  const Tensor x = normal({5, 2, 3, 1}, 0);
  const std::vector<Triplet> triplets = all_triplets(5);
  const std::vector<double> got = nearness(x, triplets).value().to_vector();
  for (size_t t = 0; t < triplets.size(); ++t) {
    const auto [i, j, k] = indices_of(triplets)[t];
    CHECK(got[t] == Approx(distance(x, i, k) - distance(x, i, j)).epsilon(1e-10));
  }
}

TEST_CASE("triplets: sign is -1, 0 or 1") {
  CHECK(sign(from_values({4}, {-2, 0, 1e-9, 5})).to_vector() == std::vector<double>{-1, 0, 1, 1});
}

TEST_CASE("triplets: two weak votes win against a sure one by sign, and lose by margin") {
  const std::vector<Tensor> nearness{from_values({2}, {0.1, 0.3}), from_values({2}, {0.1, -0.3}),
                                     from_values({2}, {-0.5, 0})};
  const auto votes = [&](const std::vector<double>& weights, Vote vote) {
    return sign(votes_of(nearness, weights, vote)).to_vector();
  };
  CHECK(votes({1, 1, 1}, Vote::kSign) == std::vector<double>{1, 0});
  CHECK(votes({1, 1, 1}, Vote::kMargin) == std::vector<double>{-1, 0});
  CHECK(votes({1, 2, 3}, Vote::kSign) == std::vector<double>{0, -1});
  CHECK(votes({1, 2, 0}, Vote::kMargin) == std::vector<double>{1, -1});
}

TEST_CASE("triplets: the ranking loss is the mean shortfall of what was voted for") {
  const Tensor student = from_values({5}, {0.5, -0.3, 0.05, 0.2, -0.25});
  const Tensor votes = from_values({5}, {1, 0.2, 3, 0, -0.5});
  // Shortfalls at delta 0.1: 0, 0.4, 0.05, no vote, 0.
  CHECK(ranking_loss(student, votes, 0.1).value().item() == Approx(0.45 / 4));
  // At delta 0: 0, 0.3, 0, no vote, 0.
  CHECK(ranking_loss(student, votes, 0).value().item() == Approx(0.3 / 4));
}

TEST_CASE("triplets: without any vote there is no loss and no gradient") {
  const Variable student = Variable::leaf(from_values({2}, {0.5, -0.3}));
  const Variable loss = ranking_loss(student, zeros({2}), 0.1);
  CHECK(loss.value().item() == 0);
  backward(loss);
  CHECK(student.grad().to_vector() == std::vector<double>{0, 0});
}

TEST_CASE("triplets: what ranks as its teacher does loses nothing, and only then") {
  const Tensor x = normal({6, 4}, 1), y = normal({6, 9}, 2);
  const std::vector<Triplet> triplets = all_triplets(6);
  const Tensor votes = nearness(x, triplets).value();
  CHECK(ranking_loss(nearness(x, triplets), votes, 0).value().item() == 0);
  CHECK(ranking_loss(nearness(y, triplets), votes, 0).value().item() > 0.01);
}

TEST_CASE("triplets: swapping j and k changes nothing") {
  const Tensor x = normal({6, 4}, 3), y = normal({6, 4}, 4);
  std::vector<Triplet> triplets = ring_triplets(6);
  const auto loss = [&] {
    return ranking_loss(nearness(x, triplets), nearness(y, triplets).value(), 0.3).value().item();
  };
  const double before = loss();
  for (Triplet& t : triplets) std::swap(t.j, t.k);
  CHECK(loss() == Approx(before).epsilon(1e-12));
}

TEST_CASE("triplets: the gradient agrees with finite differences") {
  const std::vector<Triplet> triplets = all_triplets(4);
  const Tensor votes = nearness(normal({4, 3}, 5), triplets).value();
  const GradReport report =
      gradcheck([&](const Variable& s) { return ranking_loss(nearness(s, triplets), votes, 0.4); },
                normal({4, 5}, 6));
  CHECK_MESSAGE(report.ok, report.worst);
}

}  // namespace
}  // namespace vtrain
