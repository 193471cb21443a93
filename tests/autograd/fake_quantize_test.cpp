#include "autograd/fake_quantize.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/trace.h"
#include "nn/graph.h"
#include "tensor/random.h"
#include "tests/fake_device.h"

namespace vtrain {
namespace {

constexpr CodeRange kS4{.low = -8, .high = 7};

TEST_CASE("fake_quantize: the gradient is that of a clamp, for x alone") {
  const Variable x = Variable::leaf(from_values({4}, {-9, -8, 0.4, 7.5}));
  backward(sum(fake_quantize(x, ones({1}), kS4) * 3.0));
  CHECK(x.grad().to_vector() == std::vector<double>{0, 3, 3, 0});
}

TEST_CASE("fake_quantize: a gradient that others read too is not changed in place") {
  const std::vector<double> values{-9, 0.4, 1, 7.5};
  const auto grads = [&](bool is_learned) {
    const Variable a = Variable::leaf(from_values({4}, values)),
                   b = Variable::leaf(from_values({4}, values));
    const Variable rounded =
        is_learned ? learned_fake_quantize(a, ones({1}), kS4, 1) : fake_quantize(a, ones({1}), kS4);
    backward(sum((rounded + b) * 2.0));  // one tensor is the gradient of both terms
    CHECK(b.grad().to_vector() == std::vector<double>{2, 2, 2, 2});
    return a.grad().to_vector();
  };
  CHECK(grads(false) == std::vector<double>{0, 2, 2, 0});
  CHECK(grads(true) == std::vector<double>{0, 2, 2, 0});
}

// The scale's gradient treats rounding as if it had slope 1: with codes q held fixed inside, y
// moves with the scale as (q - v) does once v's own motion is taken off. Outside the range y is
// exactly linear in the scale, so there finite differences apply.
TEST_CASE("learned_fake_quantize: where values are clamped, the scale's slope is that of y") {
  const Tensor x = from_values({3}, {-30.5, 40, 9}, DType::f64);
  const Variable scale = Variable::leaf(full({1}, 0.75, DType::f64));
  backward(sum(learned_fake_quantize(Variable(x), scale, kS4, 1)));
  const auto total = [&](double s) {
    return sum(fake_quantize(Variable(x), full({1}, s, DType::f64), kS4)).value().item();
  };
  const double slope = (total(0.75 + 1e-4) - total(0.75 - 1e-4)) / 2e-4;
  CHECK(slope == doctest::Approx(6).epsilon(1e-9));  // -8 + 7 + 7
  CHECK(scale.grad().item() == doctest::Approx(slope).epsilon(1e-9));
}

TEST_CASE("learned_fake_quantize: the scale's gradient is multiplied by the factor given") {
  const Tensor x = Random(3, "", "x").normal({2, 5}, {}, 0, DType::f64);
  const auto slope = [&](double factor) {
    const Variable scale = Variable::leaf(from_values({2}, {0.1, 0.2}, DType::f64));
    const Variable leaf = Variable::leaf(x);
    backward(sum(learned_fake_quantize(leaf, scale, kS4, factor) * leaf.detach()));
    return scale.grad().to_vector();
  };
  const std::vector<double> whole = slope(1), part = slope(0.25);
  REQUIRE(whole.size() == 2);
  CHECK(whole[0] != whole[1]);
  for (size_t i = 0; i < 2; ++i) CHECK(part[i] == 0.25 * whole[i]);
}

TEST_CASE("fake_quantize: the trace has scale, zero point, codes and axis") {
  Trace trace;
  const Variable x(zeros({3, 2}));
  {
    const Trace::Recording recording(trace);
    fake_quantize(x, full({1}, 0.5), {.low = 0, .high = 255, .zero_point = 4});
    fake_quantize(x, from_values({3}, {1, 2, 3}), kS4);
  }
  REQUIRE(trace.records().size() == 2);
  const Trace::Record &whole = trace.records()[0], &sliced = trace.records()[1];
  CHECK(whole.op.name == "fake_quantize");
  CHECK(attribute(whole, "zero_point") == 4);
  CHECK(attribute(whole, "low") == 0);
  CHECK(attribute(whole, "high") == 255);
  CHECK(attribute(whole, "axis") == -1);
  CHECK(trace.tensor(whole.inputs[1]).item() == 0.5);
  CHECK(attribute(sliced, "axis") == 0);
  CHECK(attribute(sliced, "low") == -8);
  CHECK(trace.tensor(sliced.inputs[1]).to_vector() == std::vector<double>{1, 2, 3});
}

TEST_CASE("fake_quantize: values and gradients are the same on another device") {
  const Tensor x = Random(4, "", "x").normal({3, 50}, {}),
               scale = from_values({3}, {0.1, 0.2, 0.3});
  const auto run = [&](Device device) {
    const Variable leaf = Variable::leaf(x.to(device)), step = Variable::leaf(scale.to(device));
    const Variable y = learned_fake_quantize(leaf, step, kS4, 0.5);
    backward(y, y.value());
    std::vector<std::vector<double>> all;
    for (const Tensor& t :
         {y.value(), leaf.grad(), step.grad(), fake_quantize_error(leaf.value(), step.value(), kS4),
          quantize(leaf.value(), step.value(), kS4)})
      all.push_back(t.to(Device{}).to_vector());
    return all;
  };
  CHECK(run(Device{}) == run(fake_device()));
}

}  // namespace
}  // namespace vtrain
