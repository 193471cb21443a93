#include "compress/parts/relations.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/linear.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

using doctest::Approx;
using Rows = std::vector<std::vector<double>>;

Tensor normal(const Shape& shape, int lane) {
  return Random(5, "", "relations").normal(shape, {}, lane, DType::f64);
}
/// As behind a ReLU, but nowhere 0.
Tensor positive(const Shape& shape, int lane) {
  return Random(5, "", "relations").uniform(shape, {}, lane, DType::f64);
}

Rows rows_of(const Tensor& x) {
  const std::vector<double> values = x.to_vector();
  const auto n = static_cast<size_t>(x.dim(0)), d = values.size() / n;
  Rows rows(n);
  for (size_t i = 0; i < n; ++i)
    rows[i].assign(values.begin() + static_cast<int64_t>(i * d),
                   values.begin() + static_cast<int64_t>((i + 1) * d));
  return rows;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}
std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> c(a.size());
  for (size_t k = 0; k < a.size(); ++k) c[k] = a[k] - b[k];
  return c;
}
double length(const std::vector<double>& a) { return std::sqrt(dot(a, a)); }

/// A~ in plain loops.
Rows plain_graph(const Tensor& features) {
  const Rows x = rows_of(features);
  const size_t n = x.size();
  Rows a(n, std::vector<double>(n, 0));
  std::vector<double> degree(n, 0);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      if (i == j) continue;
      a[i][j] = dot(x[i], x[j]) / (length(x[i]) * length(x[j]));
      degree[i] += a[i][j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) a[i][j] /= std::sqrt(degree[i] * degree[j]);
  }
  return a;
}

double distance_of_graphs(const Tensor& student, const Tensor& teacher, int64_t power = 1,
                          const Tensor& mask = {}) {
  return graph_distance(batch_graph(Variable(student), GraphEdges::kCosine),
                        batch_graph(Variable(teacher), GraphEdges::kCosine), power, mask)
      .value()
      .item();
}
double rkd_distance(const Tensor& student, const Tensor& teacher) {
  return mean(huber(relative_distances(student) - relative_distances(teacher))).value().item();
}
double rkd_angle(const Tensor& student, const Tensor& teacher) {
  return mean(huber(angles(student) - angles(teacher))).value().item();
}

/// x (N, 3) turned in two planes.
Tensor rotated(const Tensor& x) {
  const double c = std::cos(0.7), s = std::sin(0.7);
  const Tensor a = from_values({3, 3}, {c, -s, 0, s, c, 0, 0, 0, 1}, DType::f64),
               b = from_values({3, 3}, {1, 0, 0, 0, c, -s, 0, s, c}, DType::f64);
  return matmul(matmul(Variable(x), Variable(a)), Variable(b)).value();
}

const Tensor kTeacher = from_values({3, 2}, {1, 0, 1, 1, 0, 1}, DType::f64);
const Tensor kStudent = from_values({3, 2}, {2, 1, 1, 1, 1, 2}, DType::f64);

TEST_CASE("relations: the graph of a batch is that of plain loops") {
  const Tensor x = positive({6, 2, 2, 3}, 0);
  const Rows graph = rows_of(batch_graph(Variable(x), GraphEdges::kCosine).value()),
             plain = plain_graph(x);
  for (size_t i = 0; i < 6; ++i) {
    for (size_t j = 0; j < 6; ++j) CHECK(graph[i][j] == Approx(plain[i][j]).epsilon(1e-12));
  }
}

TEST_CASE("relations: the distance of two graphs of three samples, at powers 1, 2 and 3") {
  CHECK(distance_of_graphs(kStudent, kTeacher, 1) == Approx(0.5573956).epsilon(1e-6));
  CHECK(distance_of_graphs(kStudent, kTeacher, 2) == Approx(0.5417880).epsilon(1e-6));
  CHECK(distance_of_graphs(kStudent, kTeacher, 3) == Approx(0.8196741).epsilon(1e-6));
  // Distances and angles of the pair are equal: the two methods do not see the same.
  CHECK(std::abs(rkd_distance(kStudent, kTeacher)) < 1e-12);
  CHECK(std::abs(rkd_angle(kStudent, kTeacher)) < 1e-12);
}

TEST_CASE("relations: the root of its degrees is a graph's eigenvector of eigenvalue 1") {
  const Tensor x = positive({7, 4}, 1);
  const Rows rows = rows_of(x), graph = rows_of(batch_graph(x, GraphEdges::kCosine).value());
  std::vector<double> root(7, 0);
  for (size_t i = 0; i < 7; ++i) {
    for (size_t j = 0; j < 7; ++j)
      root[i] += i == j ? 0 : dot(rows[i], rows[j]) / (length(rows[i]) * length(rows[j]));
    root[i] = std::sqrt(root[i]);
  }
  for (size_t i = 0; i < 7; ++i) CHECK(dot(graph[i], root) == Approx(root[i]).epsilon(1e-12));
}

TEST_CASE("relations: scale and rotation change no graph, and shift changes no distance or angle") {
  const Tensor x = positive({5, 3}, 2);
  const Tensor turned = (3.0 * Variable(rotated(x))).value();
  const Tensor shifted = (Variable(turned) + 2.5).value();
  CHECK(distance_of_graphs(turned, x) == Approx(0).epsilon(1e-12));
  CHECK(rkd_distance(shifted, x) == Approx(0).epsilon(1e-12));
  CHECK(rkd_angle(shifted, x) == Approx(0).epsilon(1e-12));
  CHECK(distance_of_graphs(shifted, x) > 1e-4);  // cosines do see a shift
}

TEST_CASE("relations: two samples have one graph") {
  const Tensor graph = batch_graph(positive({2, 9}, 3), GraphEdges::kCosine).value();
  CHECK(graph.to_vector()[0] == 0);
  CHECK(graph.to_vector()[1] == Approx(1));
  CHECK(distance_of_graphs(positive({2, 9}, 3), positive({2, 4}, 4)) == Approx(0).epsilon(1e-12));
}

TEST_CASE("relations: gradients agree with finite differences") {
  const Tensor teacher = positive({4, 5}, 5), student = positive({4, 3}, 6);
  const auto check = [&](const char* what, const std::function<Variable(const Variable&)>& f,
                         const Tensor& at) {
    CAPTURE(what);
    const GradReport report = gradcheck(f, at);
    CHECK_MESSAGE(report.ok, report.worst);
  };
  for (const int64_t power : {1, 3}) {
    check(
        "graph",
        [&](const Variable& s) {
          return graph_distance(batch_graph(s, GraphEdges::kCosine),
                                batch_graph(teacher, GraphEdges::kCosine), power, {});
        },
        student);
  }
  const Tensor signed_student = normal({4, 3}, 7);
  check(
      "absolute edges",
      [](const Variable& s) { return batch_graph(s, GraphEdges::kAbsoluteCosine); },
      signed_student);
  check(
      "distances", [](const Variable& s) { return relative_distances(s); }, signed_student);
  check(
      "angles", [](const Variable& s) { return angles(s); }, signed_student);
  check(
      "huber", [](const Variable& s) { return huber(s); },
      from_values({5}, {-3, -0.6, 0.2, 0.9, 1.7}, DType::f64));
}

TEST_CASE("relations: distances and angles are those of plain loops") {
  const Tensor x = normal({5, 4}, 8);
  const Rows rows = rows_of(x);
  double total = 0;
  for (const auto& a : rows) {
    for (const auto& b : rows) total += length(difference(a, b));
  }
  const std::vector<double> relative = relative_distances(x).value().to_vector(),
                            cosines = angles(x).value().to_vector();
  for (size_t j = 0; j < 5; ++j) {
    for (size_t i = 0; i < 5; ++i) {
      const std::vector<double> e = difference(rows[i], rows[j]);
      CHECK(relative[j * 5 + i] == Approx(length(e) / (total / 20)).epsilon(1e-10));
      for (size_t k = 0; k < 5; ++k) {
        const std::vector<double> f = difference(rows[k], rows[j]);
        const double expected = i == j || k == j ? 0 : dot(e, f) / (length(e) * length(f));
        CHECK(cosines[(j * 5 + i) * 5 + k] == Approx(expected).epsilon(1e-10));
      }
    }
  }
}

TEST_CASE("relations: huber is a parabola up to 1, then a line") {
  const std::vector<double> y =
      huber(from_values({5}, {0, 0.5, -1, 3, -4}, DType::f64)).value().to_vector();
  CHECK(y == std::vector<double>{0, 0.125, 0.5, 2.5, 3.5});
}

/// Whether the gradient of the sum of f(x) is finite; its elements.
std::vector<double> finite_gradient(const std::function<Variable(const Variable&)>& f,
                                    const Tensor& x) {
  const Variable leaf = Variable::leaf(x);
  backward(sum(square(f(leaf))));
  std::vector<double> gradient = leaf.grad().to_vector();
  for (const double g : gradient) CHECK(std::isfinite(g));
  return gradient;
}

TEST_CASE("relations: a sample without features has no edges and gets no gradient") {
  const Tensor x = from_values({3, 2}, {1, 2, 0, 0, 3, 1});
  const auto graph = [](const Variable& v) { return batch_graph(v, GraphEdges::kCosine); };
  const std::vector<double> values = graph(x).value().to_vector();
  for (const size_t i : {1, 3, 4, 5, 7}) CHECK(values[i] == 0);
  const std::vector<double> gradient = finite_gradient(graph, x);
  CHECK(gradient[2] == 0);
  CHECK(gradient[3] == 0);
}

TEST_CASE("relations: samples that coincide have distance 0, no angle and finite gradients") {
  const Tensor x = from_values({3, 2}, {1, 2, 1, 2, 3, 1});
  CHECK(relative_distances(x).value().to_vector()[1] == 0);
  CHECK(angles(x).value().to_vector()[1 * 3 + 2] == 0);  // at sample 0, between 1 and 2
  finite_gradient(relative_distances, x);
  finite_gradient(angles, x);
  // All of them: there is no mean distance to divide by.
  const Tensor same = ones({4, 3});
  for (const double d : relative_distances(same).value().to_vector()) CHECK(d == 0);
  finite_gradient(relative_distances, same);
}

TEST_CASE("relations: edges that add up to less than nothing leave a finite graph") {
  const Tensor opposite = from_values({2, 2}, {1, 0, -1, 0.5});
  for (const double v : batch_graph(opposite, GraphEdges::kCosine).value().to_vector())
    CHECK(std::isfinite(v));
  const std::vector<double> absolute =
      batch_graph(opposite, GraphEdges::kAbsoluteCosine).value().to_vector();
  CHECK(absolute[1] == Approx(1));
}

TEST_CASE("relations: the nearest pairs count from both sides") {
  // The nearest of 0 and of 2 is 1, that of 1 is 2, that of 3 is 0.
  const Tensor graph = from_values(
      {4, 4}, {0, 0.5, 0.2, 0.3, 0.5, 0, 0.6, 0.1, 0.2, 0.6, 0, 0.15, 0.3, 0.1, 0.15, 0});
  CHECK(nearest_pairs(graph, 1).to_vector() ==
        std::vector<double>{0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0});
  for (const int64_t k : {4, 100})
    CHECK(nearest_pairs(graph, k).to_vector() == std::vector<double>(16, 1));
}

TEST_CASE("relations: pairs of one class and of two make up all") {
  const Tensor labels = from_values({4}, {2, 0, 2, 1}, DType::i32);
  const Tensor same = pairs_of_one_class(labels, 3);
  CHECK(same.to_vector() == std::vector<double>{1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1});
  const Tensor student = positive({4, 3}, 9), teacher = positive({4, 6}, 10);
  const Tensor intra = same.to(DType::f64), inter = (-Variable(intra) + 1.0).value();
  CHECK(distance_of_graphs(student, teacher, 1, intra) +
            distance_of_graphs(student, teacher, 1, inter) ==
        Approx(distance_of_graphs(student, teacher)).epsilon(1e-12));
}

TEST_CASE("relations: features in bf16 are compared in f32") {
  const Tensor x = normal({4, 6}, 11).to(DType::bf16);
  CHECK(batch_graph(x, GraphEdges::kAbsoluteCosine).value().dtype() == DType::f32);
  CHECK(angles(x).value().dtype() == DType::f32);
  CHECK(relative_distances(x).value().to_vector() ==
        relative_distances(x.to(DType::f32)).value().to_vector());
}

}  // namespace
}  // namespace vtrain
