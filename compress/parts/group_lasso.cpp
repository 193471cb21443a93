#include "compress/parts/group_lasso.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

/// The sums of squares of the slices of x along an axis.
std::vector<double> squares(const Tensor& x, int axis) {
  std::vector<int> others;
  for (int i = 0; i < x.ndim(); ++i) {
    if (i != axis) others.push_back(i);
  }
  const Tensor squared = square(x);
  return (others.empty() ? squared : sum(squared, others)).to_vector();
}

}  // namespace

LassoGroups::LassoGroups(std::vector<Member> members, double lambda, SizeWeight size_weight)
    : members_(std::move(members)) {
  const size_t groups = members_.empty() ? 0 : members_.front().indices.size();
  std::vector<double> sizes(groups, 0);
  for (const Member& m : members_) {
    const Tensor& w = m.parameter.value();
    const int64_t per_slice = w.numel() / w.dim(m.axis);
    for (size_t g = 0; g < groups; ++g)
      sizes[g] += static_cast<double>(per_slice) * static_cast<double>(m.indices[g].size());
  }
  for (const double size : sizes)
    lambdas_.push_back(size_weight == SizeWeight::kSqrt ? lambda * std::sqrt(size) : lambda);
}

std::vector<double> LassoGroups::norms() const {
  std::vector<double> norms(lambdas_.size(), 0);
  for (const Member& m : members_) {
    const std::vector<double> slices = squares(m.parameter.value(), m.axis);
    for (size_t g = 0; g < norms.size(); ++g) {
      for (const int64_t i : m.indices[g]) norms[g] += slices[static_cast<size_t>(i)];
    }
  }
  for (double& n : norms) n = std::sqrt(n);
  return norms;
}

double LassoGroups::penalty() const {
  const std::vector<double> all = norms();
  double penalty = 0;
  for (size_t g = 0; g < all.size(); ++g) penalty += lambdas_[g] * all[g];
  return penalty;
}

Tensor LassoGroups::spread(const Member& member, const std::vector<double>& inside,
                           double outside) const {
  const Tensor& w = member.parameter.value();
  std::vector<double> slices(static_cast<size_t>(w.dim(member.axis)), outside);
  for (size_t g = 0; g < inside.size(); ++g) {
    for (const int64_t i : member.indices[g]) slices[static_cast<size_t>(i)] = inside[g];
  }
  Shape shape(w.shape().size(), 1);
  shape[static_cast<size_t>(member.axis)] = w.dim(member.axis);
  return from_values(shape, slices, w.dtype(), w.device());
}

void LassoGroups::add_gradient() const {
  std::vector<double> factors = norms();
  for (size_t g = 0; g < factors.size(); ++g)
    factors[g] = factors[g] > 0 ? lambdas_[g] / factors[g] : 0;
  for (const Member& m : members_) {
    if (!m.parameter.grad().defined()) continue;
    const Tensor own = multiply(m.parameter.value(), spread(m, factors, 0));
    m.parameter.set_grad(add(m.parameter.grad(), own));
  }
}

void LassoGroups::shrink(double lr) const {
  std::vector<double> factors = norms();
  for (size_t g = 0; g < factors.size(); ++g)
    factors[g] = factors[g] > 0 ? std::max(0.0, 1 - lr * lambdas_[g] / factors[g]) : 0;
  for (const Member& m : members_) {
    Tensor w = m.parameter.value();
    w.copy_from(multiply(w, spread(m, factors, 1)));
  }
}

void LassoGroups::zero_small(double eps) const {
  const std::vector<double> inside(lambdas_.size(), 0);
  for (const Member& m : members_) {
    Tensor w = m.parameter.value();
    const Tensor size = add(relu(w), relu(negate(w))), outside = spread(m, inside, 1);
    // 1 where |w| >= eps, and everywhere in slices of no group.
    w.copy_from(multiply(w, at_least(add(at_least(size, eps), outside), 1)));
  }
}

}  // namespace vtrain
