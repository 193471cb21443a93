#include "compress/parts/triplets.h"

#include <algorithm>

#include "autograd/arithmetic.h"
#include "autograd/indexing.h"
#include "autograd/shape.h"
#include "compress/parts/relations.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

/// Where a pair of samples stands in a flattened (N, N), one for each triplet.
template <class Other>  // int64_t (const Triplet&)
Tensor positions(const std::vector<Triplet>& triplets, int64_t n, Device device, Other other) {
  std::vector<double> at;
  at.reserve(triplets.size());
  for (const Triplet& t : triplets) at.push_back(static_cast<double>(t.i * n + other(t)));
  return from_values({static_cast<int64_t>(at.size())}, at, DType::i32, device);
}

int64_t drawn(double uniform, int64_t count) {
  return std::min(static_cast<int64_t>(uniform * static_cast<double>(count)), count - 1);
}

}  // namespace

std::vector<Triplet> ring_triplets(int64_t n) {
  std::vector<Triplet> triplets;
  for (int64_t i = 0; n >= 3 && i < n; ++i)
    triplets.push_back({.i = i, .j = (i + 1) % n, .k = (i + 2) % n});
  return triplets;
}

std::vector<Triplet> random_triplets(int64_t n, const Random& stream, RandomPosition at) {
  std::vector<Triplet> triplets;
  for (int64_t i = 0; n >= 3 && i < n; ++i) {
    const int64_t sample = at.first_sample + i;
    // Steps around the ring from i: two different ones of 1 .. n - 1.
    const int64_t first = 1 + drawn(stream.uniform(at.step, sample, 0), n - 1);
    int64_t second = 1 + drawn(stream.uniform(at.step, sample, 1), n - 2);
    if (second >= first) ++second;
    triplets.push_back({.i = i, .j = (i + first) % n, .k = (i + second) % n});
  }
  return triplets;
}

std::vector<Triplet> all_triplets(int64_t n) {
  std::vector<Triplet> triplets;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = j + 1; k < n; ++k) {
        if (i != j && i != k) triplets.push_back({.i = i, .j = j, .k = k});
      }
    }
  }
  return triplets;
}

Variable nearness(const Variable& features, const std::vector<Triplet>& triplets) {
  const Variable distances = squared_distances(unit_rows(feature_rows(features)));
  const int64_t n = distances.dim(0);
  const Variable flat = reshape(distances, {n * n});
  const Device device = features.value().device();
  const Tensor to_j = positions(triplets, n, device, [](const Triplet&t) { return t.j; }),
               to_k = positions(triplets, n, device, [](const Triplet&t) { return t.k; });
  return index_select(flat, 0, to_k) - index_select(flat, 0, to_j);
}

Tensor sign(const Tensor& x) { return add(at_least(x, 0), negate(at_least(negate(x), 0))); }

Tensor votes_of(const std::vector<Tensor>& nearness, const std::vector<double>& weights,
                Vote vote) {
  Tensor sum;
  for (size_t m = 0; m < nearness.size(); ++m) {
    const Tensor one = multiply(vote == Vote::kSign ? sign(nearness[m]) : nearness[m], weights[m]);
    sum = sum.defined() ? add(sum, one) : one;
  }
  return sum;
}

Variable ranking_loss(const Variable& nearness, const Tensor& votes, double delta) {
  const Tensor signs = sign(votes), decided = square(signs);
  const double count = sum(decided).item();
  const Variable short_of = relu(-(Variable(signs) * nearness) + delta);
  return sum(short_of * Variable(decided)) / std::max(count, 1.0);
}

}  // namespace vtrain
