#include "compress/parts/relations.h"

#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/linear.h"
#include "autograd/shape.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"
#include "tensor/ops/matmul.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/sort.h"
#include "tensor/ops/unary.h"

namespace vtrain {
namespace {

constexpr double kLeastSquare = 1e-12;  // of a distance that counts as one
constexpr double kLeastLength2 = 1e-24;
constexpr double kLeastDegree = 1e-6;

Variable gram(const Variable& rows) { return matmul(rows, transpose(rows, 0, 1)); }

/// Ones on the diagonal, in the dtype and on the device of x (N, N).
Tensor identity_like(const Tensor& x) {
  std::vector<double> positions;
  for (int64_t i = 0; i < x.dim(0); ++i) positions.push_back(static_cast<double>(i));
  const Tensor index = from_values({x.dim(0)}, positions, DType::i32, x.device());
  return one_hot(index, x.dim(0)).to(x.dtype());
}

/// 1 - x for a mask.
Tensor inverse(const Tensor& mask) { return add(multiply(mask, -1), 1); }

/// sqrt(squares) where `there` is 1, else 1: a root of 0 has no finite gradient.
Variable root_or_one(const Variable& squares, const Tensor& there) {
  return sqrt(squares * Variable(there) + Variable(inverse(there)));
}

Variable absolute(const Variable& x) { return relu(x) + relu(-x); }

Variable matrix_power(const Variable& a, int64_t power) {
  Variable result = a;
  for (int64_t i = 1; i < power; ++i) result = matmul(result, a);
  return result;
}

/// |x|^2 on the diagonal of a Gram matrix, as a column (N, 1).
Variable diagonal(const Variable& products) {
  return sum(products * Variable(identity_like(products.value())), {1}, true);
}

Variable squared_distances_of(const Variable& products) {
  const Variable squares = diagonal(products);
  return relu(squares + transpose(squares, 0, 1) - 2.0 * products);
}

/// Rows in f64 with their mean at 0, which changes no distance and keeps products small.
Variable centred(const Variable& features) {
  const Variable rows = cast(feature_rows(features), DType::f64);
  return rows - mean(rows, {0}, true);
}

}  // namespace

Variable feature_rows(const Variable& features) {
  return cast(reshape(features, {features.dim(0), -1}), wide_of(features.value().dtype()));
}

Variable unit_rows(const Variable& rows) {
  const Variable squares = sum(square(rows), {1}, true);
  const Tensor there = at_least(squares.value(), kLeastLength2);
  return rows * Variable(there) / root_or_one(squares, there);
}

Variable squared_distances(const Variable& rows) { return squared_distances_of(gram(rows)); }

Variable batch_graph(const Variable& features, GraphEdges edges) {
  const Variable cosines = gram(unit_rows(feature_rows(features)));
  const Variable a = (edges == GraphEdges::kAbsoluteCosine ? absolute(cosines) : cosines) *
                     Variable(inverse(identity_like(cosines.value())));
  const Variable degrees = relu(sum(a, {1}, true) - kLeastDegree) + kLeastDegree;
  const Variable root = sqrt(degrees);
  return a / (root * transpose(root, 0, 1));
}

Variable graph_distance(const Variable& a, const Variable& b, int64_t power, const Tensor& mask) {
  const auto masked = [&](const Variable& graph) {
    return mask.defined() ? graph * Variable(mask) : graph;
  };
  return sum(square(matrix_power(masked(a), power) - matrix_power(masked(b), power)));
}

Tensor nearest_pairs(const Tensor& graph, int64_t k) {
  if (k >= graph.dim(1)) return ones_like(graph);
  const Tensor nearest = top_k(graph, k, 1).indices;
  const Tensor chosen =
      scatter(zeros_like(graph), 1, nearest, ones(nearest.shape(), graph.dtype(), graph.device()));
  return clamp(add(chosen, chosen.transpose(0, 1).contiguous()), 0, 1);
}

Tensor pairs_of_one_class(const Tensor& labels, int64_t classes) {
  const Tensor hot = one_hot(labels, classes);
  return matmul(hot, hot.transpose(0, 1));
}

Variable relative_distances(const Variable& features) {
  const Variable squares = squared_distances(centred(features));
  const Tensor apart = at_least(squares.value(), kLeastSquare);
  const Variable distances = root_or_one(squares, apart) * Variable(apart);
  const double pairs = sum(apart).item();
  // Where all samples coincide there is no scale, and no distance that needs one.
  const Variable relative = pairs == 0 ? distances : distances * pairs / sum(distances);
  return cast(relative, wide_of(features.value().dtype()));
}

Variable angles(const Variable& features) {
  const Variable g = gram(centred(features)), squares = squared_distances_of(g);
  const int64_t n = g.dim(0);
  const auto at_ji = [n](const Variable& v) { return reshape(v, {n, n, 1}); };
  const auto at_jk = [n](const Variable& v) { return reshape(v, {n, 1, n}); };
  const auto at_ik = [n](const Variable& v) { return reshape(v, {1, n, n}); };
  // <x_i - x_j, x_k - x_j>
  const Variable products = at_ik(g) - at_ji(g) - at_jk(g) + reshape(diagonal(g), {n, 1, 1});
  const Tensor apart = at_least(squares.value(), kLeastSquare);
  const Variable inverse_length = Variable(apart) / root_or_one(squares, apart);
  return cast(products * at_ji(inverse_length) * at_jk(inverse_length),
              wide_of(features.value().dtype()));
}

Variable huber(const Variable& x) {
  const Variable size = absolute(x), least = size - relu(size - 1.0);  // min(|x|, 1)
  return least * (size - 0.5 * least);
}

}  // namespace vtrain
