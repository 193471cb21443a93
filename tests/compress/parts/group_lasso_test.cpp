#include "compress/parts/group_lasso.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tensor/random.h"

namespace vtrain {
namespace {

using doctest::Approx;

Parameter parameter_of(const Shape& shape, std::initializer_list<double> values) {
  Parameter p(shape, Init::zeros());
  p.set(from_values(shape, values));
  return p;
}

/// Group g is slice g of the axis.
LassoGroups slices(const Parameter& p, int axis, double lambda,
                   LassoGroups::SizeWeight size_weight = LassoGroups::SizeWeight::kNone) {
  LassoGroups::Member member{p, axis, {}};
  for (int64_t i = 0; i < p.value().dim(axis); ++i) member.indices.push_back({i});
  return LassoGroups({member}, lambda, size_weight);
}

TEST_CASE("group lasso: norms and penalty of rows and columns by hand") {
  const Parameter w = parameter_of({2, 2}, {3, 4, 0, 12});
  CHECK(slices(w, 0, 0.5).norms() == std::vector<double>{5, 12});
  CHECK(slices(w, 1, 0.5).norms()[1] == Approx(std::sqrt(16.0 + 144.0)));
  CHECK(slices(w, 0, 0.5).penalty() == Approx(8.5));
  const auto sqrt = LassoGroups::SizeWeight::kSqrt;
  CHECK(slices(w, 0, 0.5, sqrt).penalty() == Approx(8.5 * std::sqrt(2.0)));
}

TEST_CASE("group lasso: a group spans parameters and takes several slices of one") {
  const Parameter w = parameter_of({4}, {1, 2, 4, 100}), b = parameter_of({1}, {2});
  const LassoGroups groups({{w, 0, {{0, 1, 2}}}, {b, 0, {{0}}}}, 1, LassoGroups::SizeWeight::kSqrt);
  CHECK(groups.norms() == std::vector<double>{5});  // 1 + 4 + 16 + 4
  CHECK(groups.penalty() == Approx(10));            // four elements
  groups.shrink(1);                                 // 1 - 2 / 5
  CHECK(w.value().to_vector()[2] == Approx(2.4));
  CHECK(w.value().to_vector()[3] == 100);  // of no group
  CHECK(b.value().to_vector()[0] == Approx(1.2));
}

TEST_CASE("group lasso: the gradient is that of finite differences, and 0 at 0") {
  const Parameter w = parameter_of({3, 2}, {0.3, -0.4, 0, 0, 1, 2});
  const LassoGroups groups = slices(w, 0, 0.7);
  w.set_grad(zeros({3, 2}));
  groups.add_gradient();
  const std::vector<double> gradient = w.grad().to_vector();
  const std::vector<double> start = w.value().to_vector();
  for (const size_t i : {0, 1, 4, 5}) {
    const auto penalty_at = [&](double step) {
      std::vector<double> moved = start;
      moved[i] += step;
      Parameter p(Shape{3, 2}, Init::zeros());
      p.set(from_values({3, 2}, moved));
      return slices(p, 0, 0.7).penalty();
    };
    CHECK(gradient[i] == Approx((penalty_at(1e-3) - penalty_at(-1e-3)) / 2e-3).epsilon(1e-3));
  }
  CHECK(gradient[2] == 0);
  CHECK(gradient[3] == 0);
}

TEST_CASE("group lasso: groups of one element are an L1 penalty") {
  const Parameter w = parameter_of({3}, {-2, 0.5, 1});
  CHECK(slices(w, 0, 0.1).penalty() == Approx(0.35));
  w.set_grad(zeros({3}));
  slices(w, 0, 0.1).add_gradient();
  const std::vector<double> g = w.grad().to_vector();
  CHECK(g[0] == Approx(-0.1));
  CHECK(g[1] == Approx(0.1));
}

TEST_CASE("group lasso: proximal steps solve 1/2 |w - a|^2 + lambda |w|, with exact zeros") {
  const std::vector<double> a = {3, 4, 0.3, 0.4};  // norms 5 and 0.5
  Parameter w(Shape{2, 2}, Init::zeros());
  w.set(from_values({2, 2}, a));
  const LassoGroups groups = slices(w, 0, 1);
  for (int i = 0; i < 200; ++i) {
    std::vector<double> next = w.value().to_vector();
    for (size_t k = 0; k < 4; ++k) next[k] -= 0.1 * (next[k] - a[k]);
    w.set(from_values({2, 2}, next));
    groups.shrink(0.1);
  }
  const std::vector<double> solved = w.value().to_vector();
  CHECK(solved[0] == Approx(0.8 * 3).epsilon(1e-5));  // 1 - 1 / 5
  CHECK(solved[1] == Approx(0.8 * 4).epsilon(1e-5));
  CHECK(solved[2] == 0);
  CHECK(solved[3] == 0);
}

TEST_CASE("group lasso: small single weights of groups become 0, others stay") {
  const Parameter w = parameter_of({3, 2}, {1e-5, -2e-4, -1e-5, 1e-4, 1e-6, 5});
  const LassoGroups groups({{w, 0, {{0}, {1}}}}, 1, LassoGroups::SizeWeight::kNone);
  groups.zero_small(1e-4);
  const std::vector<double> v = w.value().to_vector();
  CHECK(v[0] == 0);
  CHECK(v[1] == Approx(-2e-4));
  CHECK(v[2] == 0);
  CHECK(v[3] == Approx(1e-4));  // not below
  CHECK(v[4] == Approx(1e-6));  // of no group
}

}  // namespace
}  // namespace vtrain
