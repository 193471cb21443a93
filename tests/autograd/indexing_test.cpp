#include "autograd/indexing.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/trace.h"
#include "tensor/ops/indexing.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(46, "", "indexing_test").normal(shape, {}, lane, DType::f64);
}
Tensor ints(const Shape& shape, std::initializer_list<double> values) {
  return from_values(shape, values, DType::i32);
}

TEST_CASE("indexing: agrees with PyTorch along every axis") {
  const Golden golden("indexing");
  for (int axis = 0; axis < 3; ++axis) {
    CAPTURE(axis);
    const auto index = [&](const char* name) { return golden(str(name, axis, ".index")); };
    check_golden(golden, str("select_", axis), {"x"},
                 [&](const Values& v) { return index_select(v[0], axis, index("select_")); });
    check_golden(golden, str("gather_", axis), {"x"},
                 [&](const Values& v) { return gather(v[0], axis, index("gather_")); });
    check_golden(golden, str("scatter_add_", axis), {"x", "src"}, [&](const Values& v) {
      return scatter_add(v[0], axis, index("scatter_add_"), v[1]);
    });
    check_golden(golden, str("scatter_", axis), {"x", "src"},
                 [&](const Values& v) { return scatter(v[0], axis, index("scatter_"), v[1]); });
    check_golden(golden, str("sort_ascending_", axis), {"x"},
                 [&](const Values& v) { return sort(v[0], axis, SortOrder::kAscending).values; });
    check_golden(golden, str("sort_descending_", axis), {"x"},
                 [&](const Values& v) { return sort(v[0], axis, SortOrder::kDescending).values; });
    check_golden(golden, str("top_", axis), {"x"},
                 [&](const Values& v) { return top_k(v[0], 2, axis).values; });
  }
}

TEST_CASE("indexing: gradients agree with finite differences, with indices that repeat") {
  const auto check = [](const GradReport& report) { CHECK_MESSAGE(report.ok, report.worst); };
  const Tensor index = ints({2, 4}, {0, 2, 2, 0, 1, 1, 1, 2});
  check(gradcheck(
      [](const Variable& v) {
        return index_select(v, -1, ints({5}, {1, 0, 1, 1, 2}));
      },
      normal({2, 3})));
  check(gradcheck([](const Variable& v) { return index_select(v, 0, ints({1}, {1})); },
                  normal({2, 3, 2})));
  check(gradcheck([&](const Variable& v) { return gather(v, 1, index); }, normal({2, 3})));
  check(gradcheck([&](const Values& v) { return scatter_add(v[0], 1, index, v[1]); },
                  {normal({2, 3}), normal({2, 4}, 1)}));
  check(gradcheck([&](const Values& v) { return scatter(v[0], 1, index, v[1]); },
                  {normal({2, 3}), normal({2, 4}, 1)}));
  for (const SortOrder order : {SortOrder::kAscending, SortOrder::kDescending}) {
    check(gradcheck([&](const Variable& v) { return sort(v, 1, order).values; }, normal({3, 5})));
    check(
        gradcheck([&](const Variable& v) { return top_k(v, 2, 0, order).values; }, normal({4, 3})));
  }
}

TEST_CASE("indexing: of several sources of one element all are added, and the last is written") {
  const Tensor index = ints({4}, {2, 0, 2, 2}), src = from_values({4}, {1, 2, 4, 8});
  const Tensor x = from_values({3}, {100, 200, 300});
  CHECK(scatter_add(x, 0, index, src).to_vector() == std::vector<double>{102, 200, 313});
  CHECK(scatter(x, 0, index, src).to_vector() == std::vector<double>{2, 200, 8});
  const Variable leaf = Variable::leaf(x), source = Variable::leaf(src);
  backward(scatter(leaf, 0, index, source), from_values({3}, {5, 6, 7}));
  CHECK(leaf.grad().to_vector() == std::vector<double>{0, 6, 0});
  CHECK(source.grad().to_vector() == std::vector<double>{0, 5, 0, 7});
}

TEST_CASE("indexing: images keep their memory order, and any order is read by its logical index") {
  const Tensor x = normal({2, 5, 3, 4}), index = ints({3}, {4, 0, 4});
  for (int axis = 0; axis < 4; ++axis) {
    CAPTURE(axis);
    const Tensor at = axis == 1 ? index : ints({3}, {1, 0, 1});
    const Tensor y = index_select(x, axis, at);
    CHECK(index_select(x.channels_last(), axis, at).is_channels_last());
    CHECK(index_select(x.channels_last(), axis, at).to_vector() == y.to_vector());
    CHECK(index_select(x.transpose(0, 3).contiguous().transpose(0, 3), axis, at).to_vector() ==
          y.to_vector());
    CHECK(index_select_grad(y.channels_last(), axis, at, x.dim(axis)).to_vector() ==
          index_select_grad(y, axis, at, x.dim(axis)).to_vector());
  }
  CHECK(gather(x.channels_last(), 1, ints({2, 1, 1, 1}, {0, 1}).view({2, 1, 3, 4}, {1, 0, 0, 0}, 0))
            .to_vector() ==
        gather(x, 1, ints({2, 1, 1, 1}, {0, 1}).view({2, 1, 3, 4}, {1, 0, 0, 0}, 0)).to_vector());
}

TEST_CASE("indexing: bf16 sums are taken in f32") {
  // 256 + 1 is 256 in bf16: one by one, the ones would be lost.
  const Tensor ones_256 = ones({256}, DType::bf16), zeros_256 = zeros({256}, DType::i32);
  CHECK(scatter_add(full({1}, 256, DType::bf16), 0, zeros_256, ones_256).item() == 512);
  CHECK(index_select_grad(ones({512}, DType::bf16), 0, zeros({512}, DType::i32), 1).item() == 512);
}

TEST_CASE("sort and top_k: ties keep their order, NaN comes last both ways") {
  const double nan = 0.0 / 0.0;
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    CAPTURE(name_of(dtype));
    const Tensor x = from_values({7}, {2, nan, -0.0, 5, 0.0, 5, nan}, dtype);
    CHECK(sort(x, 0, SortOrder::kAscending).indices.to_vector() ==
          std::vector<double>{2, 4, 0, 3, 5, 1, 6});
    CHECK(sort(x, 0, SortOrder::kDescending).indices.to_vector() ==
          std::vector<double>{3, 5, 0, 2, 4, 1, 6});
    const Sorted top = top_k(x, 3, 0);
    CHECK(top.values.to_vector() == std::vector<double>{5, 5, 2});
    CHECK(top.indices.to_vector() == std::vector<double>{3, 5, 0});
    CHECK(top.values.dtype() == dtype);
    CHECK(top_k(x, 2, 0, SortOrder::kAscending).indices.to_vector() == std::vector<double>{2, 4});
  }
}

TEST_CASE("top_k: is the head of sort, for every k and along every axis") {
  const Tensor x = normal({3, 17, 2});
  for (const SortOrder order : {SortOrder::kAscending, SortOrder::kDescending}) {
    const Sorted all = sort(x, 1, order);
    for (const int64_t k : {1, 2, 16, 17}) {
      CHECK(top_k(x, k, 1, order).values.to_vector() == all.values.slice(1, 0, k).to_vector());
      CHECK(top_k(x, k, -2, order).indices.to_vector() == all.indices.slice(1, 0, k).to_vector());
    }
    CHECK(gather(x, 1, all.indices).to_vector() == all.values.to_vector());
  }
}

TEST_CASE("one_hot: a row per label, of any shape") {
  const Tensor y = one_hot(ints({2, 2}, {0, 2, 1, 2}), 3);
  CHECK(y.shape() == Shape{2, 2, 3});
  CHECK(y.to_vector() == std::vector<double>{1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1});
  CHECK_THROWS_WITH_AS(one_hot(ints({1}, {3}), 3),
                       "[scatter] index: expected entries in 0..2, got 3", ShapeError);
}

TEST_CASE("indexing: the trace links values and indices to what they came from") {
  Trace trace;
  const Variable x(normal({2, 5}));
  {
    const Trace::Recording recording(trace);
    const SortedVariables top = top_k(x, 2, 1);
    gather(x, 1, top.indices);
  }
  const auto& records = trace.records();
  REQUIRE(records.size() == 3);
  CHECK(records[0].op.name == "top_k");
  CHECK(records[1].op.name == "top_k_indices");
  CHECK(records[2].op.name == "gather");
  CHECK(records[2].inputs == std::vector<int>{records[0].inputs[0], records[1].output});
}

TEST_CASE("indexing: what does not fit is named") {
  const Tensor x = zeros({2, 3});
  CHECK_THROWS_WITH_AS(index_select(x, 1, ints({2}, {0, 3})),
                       "[index_select] index: expected entries in 0..2, got 3", ShapeError);
  CHECK_THROWS_WITH_AS(index_select(x, 1, ints({2}, {-1, 0})),
                       "[index_select] index: expected entries in 0..2, got -1", ShapeError);
  CHECK_THROWS_WITH_AS(index_select(x, 1, zeros({2})),
                       "[index_select] index: expected i32, got f32 (2) on cpu", ShapeError);
  CHECK_THROWS_WITH_AS(gather(x, 1, zeros({3, 2}, DType::i32)),
                       "[gather] index (3, 2): expected the extents of x (2, 3) but along axis 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(scatter_add(x, 1, zeros({2, 2}, DType::i32), zeros({2, 3})),
                       "[scatter_add] src (2, 3): expected the shape of index (2, 2)", ShapeError);
  CHECK_THROWS_WITH_AS(top_k(x, 4, 1), "[top_k] k: expected 1..3 along axis 1 of x (2, 3), got 4",
                       ShapeError);
  CHECK_THROWS_AS(sort(zeros({0, 3}), 1, SortOrder::kAscending), ShapeError);
}

}  // namespace
}  // namespace vtrain
