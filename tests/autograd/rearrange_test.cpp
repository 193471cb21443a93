#include "autograd/rearrange.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "autograd/trace.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(45, "", "rearrange_test").normal(shape, {}, lane, DType::f64);
}

/// 0, 1, 2, ... in logical order.
Tensor counted(const Shape& shape, DType dtype = DType::f32) {
  std::vector<double> values;
  for (int64_t i = 0; i < numel_of(shape); ++i) values.push_back(static_cast<double>(i));
  return from_values(shape, values, dtype);
}

void check_gradient(const std::function<Variable(const Variable&)>& f, const Tensor& x) {
  const GradReport report = gradcheck(f, x);
  CHECK_MESSAGE(report.ok, report.worst);
}

/// Results and gradients agree to the bit for x in every memory order and for every dtype.
void check_orders(const std::function<Variable(const Variable&)>& f, const Shape& nchw) {
  const std::vector<double> expected = f(Variable(counted(nchw))).value().to_vector();
  const Tensor x = counted(nchw);
  const Variable last = f(Variable(x.channels_last()));
  CHECK(last.value().to_vector() == expected);
  CHECK(f(Variable(x.transpose(1, 3).contiguous().transpose(1, 3))).value().to_vector() ==
        expected);
  CHECK(f(Variable(counted(nchw, DType::i32))).value().to_vector() == expected);
  const auto grad = [&](const Tensor& at) {
    const Variable leaf = Variable::leaf(at);
    const Variable y = f(leaf);
    backward(y, counted(y.shape()));
    return leaf.grad().to_vector();
  };
  CHECK(grad(x.channels_last()) == grad(x));
}

const std::vector<AxisPadding> kSides = {{0, 1}, {0, 0}, {2, 1}, {1, 3}};

TEST_CASE("rearrangements: agree with PyTorch") {
  const Golden golden("rearrange");
  check_golden(golden, "pad", {"x"}, [](const Values& v) {
    return pad(v[0], {{0, 0}, {3, 0}, {0, 1}, {1, 2}}, -1.5);
  });
  check_golden(golden, "roll", {"x"}, [](const Values& v) { return roll(v[0], {1, 2}, {-1, 2}); });
  check_golden(golden, "roll_far", {"x"}, [](const Values& v) {
    return roll(v[0], {1, 0}, {11, 0});
  });
  check_golden(golden, "flip", {"x"}, [](const Values& v) { return flip(v[0], 2); });
  check_golden(golden, "shuffle", {"x"}, [](const Values& v) { return channel_shuffle(v[0], 3); });
  check_golden(golden, "windows", {"x"}, [](const Values& v) { return window_partition(v[0], 3); });
}

TEST_CASE("rearrangements: gradients agree with finite differences") {
  const Shape shape{2, 6, 4, 2};
  const Tensor x = normal(shape);
  check_gradient([](const Variable& v) { return pad(v, kSides, 0.5); }, x);
  check_gradient([](const Variable& v) { return roll(v, {-1, 1, 2}, {1, -2, 9}); }, x);
  check_gradient([](const Variable& v) { return roll(v, {}, {}); }, x);
  for (int axis = 0; axis < 4; ++axis)
    check_gradient([axis](const Variable& v) { return flip(v, axis); }, x);
  for (const int64_t groups : {1, 2, 3, 6})
    check_gradient([groups](const Variable& v) { return channel_shuffle(v, groups); }, x);
  check_gradient([](const Variable& v) { return window_partition(v, 2); }, x);
  check_gradient([](const Variable& v) { return window_reverse(v, 2, 4, 6); }, normal({12, 4, 3}));
  check_gradient(
      [](const Variable& v) {
        const std::vector<Variable> parts = split(v, {1, 1, 4}, 1);
        return parts[0] * parts[2] + parts[1];
      },
      normal({2, 6, 1, 1}));
}

TEST_CASE("rearrangements: any memory order and dtype, results keep that of an image") {
  const Shape shape{2, 6, 4, 8};
  check_orders([](const Variable& v) { return pad(v, kSides, -1); }, shape);
  check_orders([](const Variable& v) { return roll(v, {2, 3}, {-1, 5}); }, shape);
  check_orders([](const Variable& v) { return roll(v, {1}, {2}); }, shape);
  for (int axis = 0; axis < 4; ++axis)
    check_orders([axis](const Variable& v) { return flip(v, axis); }, shape);
  check_orders([](const Variable& v) { return channel_shuffle(v, 2); }, shape);
  check_orders([](const Variable& v) { return window_partition(v, 2); }, shape);
  check_orders([](const Variable& v) { return split(v, {2, 4}, 1)[1]; }, shape);
  const Variable image(counted(shape).channels_last());
  CHECK(pad(image, kSides).value().is_channels_last());
  CHECK(roll(image, {2}, {1}).value().is_channels_last());
  CHECK(flip(image, 3).value().is_channels_last());
  CHECK(channel_shuffle(image, 3).value().is_channels_last());
}

TEST_CASE("channel_shuffle: the order of the ShuffleNet card, and its inverse") {
  const Variable x(counted({1, 12, 1, 1}));
  const Variable y = channel_shuffle(x, 3);
  CHECK(y.value().to_vector() == std::vector<double>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11});
  CHECK(channel_shuffle(y, 4).value().to_vector() == x.value().to_vector());
  CHECK(channel_shuffle(x, 1).value().to_vector() == x.value().to_vector());
}

TEST_CASE("windows: partition and reverse are inverses, as rolls by -s and s are, to the bit") {
  const Variable x(normal({2, 6, 9, 5}));
  const Variable windows = window_partition(x, 3);
  CHECK(windows.shape() == Shape{12, 9, 5});
  CHECK(window_reverse(windows, 3, 6, 9).value().to_vector() == x.value().to_vector());
  CHECK(roll(roll(x, {1, 2}, {-3, -3}), {1, 2}, {3, 3}).value().to_vector() ==
        x.value().to_vector());
  // Rows 3..5 and columns 0..2 of the first image are its window 3 of 6.
  CHECK(windows.value().select(0, 3).to_vector() ==
        x.value().select(0, 0).slice(0, 3, 6).slice(1, 0, 3).to_vector());
  // y[i] = x[(i + s) mod H]
  const Variable row(counted({5}));
  CHECK(roll(row, {0}, {-2}).value().to_vector() == std::vector<double>{2, 3, 4, 0, 1});
}

TEST_CASE(
    "split and chunk: parts are views that add up, the last chunk may be smaller or missing") {
  const Variable x(counted({2, 7}));
  const std::vector<Variable> parts = split(x, {2, 0, 5}, -1);
  CHECK(parts[0].value().to_vector() == std::vector<double>{0, 1, 7, 8});
  CHECK(parts[1].shape() == Shape{2, 0});
  CHECK(parts[2].value().shares_storage_with(x.value()));
  CHECK(concat(parts, 1).value().to_vector() == x.value().to_vector());
  std::vector<int64_t> extents;
  for (const Variable& part : chunk(x, 3, 1)) extents.push_back(part.dim(1));
  CHECK(extents == std::vector<int64_t>{3, 3, 1});
  CHECK(chunk(x, 5, 1).size() == 4);  // of ceil(7 / 5) = 2
  CHECK(chunk(x, 9, 0).size() == 2);
}

TEST_CASE("concat: images and parts of them in rows of channels stay so, along every axis") {
  const Tensor x = counted({2, 6, 4, 3}).channels_last();
  for (int axis = 0; axis < 4; ++axis) {
    CAPTURE(axis);
    const std::vector<Variable> halves = chunk(Variable(x), 2, axis);
    const Tensor back = concat({halves[0], halves[1]}, axis).value();
    CHECK(back.is_channels_last());
    CHECK(back.to_vector() == x.to_vector());
  }
  const Tensor mixed = concat({Variable(x), Variable(x.contiguous())}, 1).value();
  CHECK(mixed.is_contiguous());
  CHECK(mixed.slice(1, 6, 12).to_vector() == x.to_vector());
  // One channel, or one position: what both orders share stays readable as either.
  const Tensor grey = counted({2, 1, 4, 3}).channels_last();
  CHECK(concat({Variable(grey), Variable(x)}, 1).value().slice(1, 0, 1).to_vector() ==
        grey.to_vector());
}

TEST_CASE("rearrangements: the trace has each op with its numbers") {
  Trace trace;
  {
    const Trace::Recording recording(trace);
    const Variable x(zeros({1, 4, 4, 6}));
    pad(x, {{0, 0}, {0, 2}, {1, 0}, {0, 0}}, 3);
    split(x, {1, 3}, 1);
    roll(x, {1, 2}, {-2, 1});
    flip(x, 3);
    channel_shuffle(x, 2);
    window_reverse(window_partition(x, 2), 2, 4, 4);
  }
  const auto& records = trace.records();
  using Attributes = std::vector<std::pair<std::string, double>>;
  REQUIRE(records.size() == 8);
  CHECK(records[0].op.name == "pad");
  CHECK(records[0].op.attributes == Attributes{{"value", 3},
                                               {"front_0", 0},
                                               {"back_0", 0},
                                               {"front_1", 0},
                                               {"back_1", 2},
                                               {"front_2", 1},
                                               {"back_2", 0},
                                               {"front_3", 0},
                                               {"back_3", 0}});
  CHECK(records[2].op.name == "slice");
  CHECK(records[2].op.attributes == Attributes{{"axis", 1}, {"begin", 1}, {"end", 4}});
  CHECK(records[3].op.name == "roll");
  CHECK(records[3].op.attributes ==
        Attributes{{"axis_0", 1}, {"shift_0", -2}, {"axis_1", 2}, {"shift_1", 1}});
  CHECK(records[4].op.name == "flip");
  CHECK(records[5].op.name == "channel_shuffle");
  CHECK(records[6].op.name == "window_partition");
  CHECK(records[7].op.name == "window_reverse");
  CHECK(records[7].op.attributes == Attributes{{"window", 2}, {"height", 4}, {"width", 4}});
}

TEST_CASE("rearrangements: what does not fit is named") {
  const Variable x(zeros({2, 4, 4, 6}));
  CHECK_THROWS_WITH_AS(pad(x, {{0, 0}}),
                       "[pad] sides: expected 4 entries, one per axis of x (2, 4, 4, 6), got 1",
                       ShapeError);
  CHECK_THROWS_WITH_AS(pad(Variable(zeros({3})), {{-1, 2}}),
                       "[pad] sides: expected counts of at least 0, got -1, 2 along axis 0",
                       ShapeError);
  CHECK_THROWS_WITH_AS(split(x, {1, 2}, 1),
                       "[split] extents: expected a sum of 4, axis 1 of x (2, 4, 4, 6), got 3",
                       ShapeError);
  CHECK_THROWS_WITH_AS(split(x, {5, -1}, 1), "[split] extents: expected at least 0, got -1",
                       ShapeError);
  CHECK_THROWS_AS(chunk(x, 0, 1), ShapeError);
  CHECK_THROWS_AS(roll(x, {1}, {}), ShapeError);
  CHECK_THROWS_WITH_AS(
      channel_shuffle(x, 3),
      "[channel_shuffle] groups 3: expected a divisor of the channels of x (2, 4, 4, 6)",
      ShapeError);
  CHECK_THROWS_WITH_AS(
      window_partition(x, 3),
      "[window_partition] window 3: expected one that divides height and width, 4 x 4", ShapeError);
  CHECK_THROWS_WITH_AS(window_reverse(Variable(zeros({3, 4, 5})), 2, 4, 4),
                       "[window_reverse] windows (3, 4, 5): expected (N * 4, 4, C)", ShapeError);
}

}  // namespace
}  // namespace vtrain
