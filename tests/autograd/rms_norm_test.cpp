#include "autograd/rms_norm.h"

#include <doctest/doctest.h>

#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "autograd/trace.h"
#include "nn/layers/rms_norm.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(43, "", "rms_norm_test").normal(shape, {}, lane, DType::f64);
}

TEST_CASE("rms_norm: agrees with PyTorch, with and without a weight") {
  const Golden golden("rms_norm");
  check_golden(golden, "weighted", {"x", "weight"},
               [](const Values& v) { return rms_norm(v[0], v[1], 1e-6); });
  check_golden(golden, "plain", {"x"}, [](const Values& v) { return rms_norm(v[0], {}, 1e-5); });
  check_golden(golden, "single", {"x", "weight"},
               [](const Values& v) { return rms_norm(v[0], v[1], 0.5); });
}

TEST_CASE("rms_norm: gradients agree with finite differences") {
  for (const Shape& shape : {Shape{5}, Shape{3, 5}, Shape{2, 2, 17}, Shape{131, 2}}) {
    CAPTURE(shape_text(shape));
    const GradReport weighted =
        gradcheck([](const Values& v) { return rms_norm(v[0], v[1], 1e-5); },
                  {normal(shape), normal({shape.back()}, 1)});
    CHECK_MESSAGE(weighted.ok, weighted.worst);
    const GradReport plain =
        gradcheck([](const Variable& v) { return rms_norm(v, {}, 1e-5); }, normal(shape));
    CHECK_MESSAGE(plain.ok, plain.worst);
  }
  const GradReport strided = gradcheck(
      [](const Variable& v) { return rms_norm(transpose(v, 0, 1), {}, 1e-5); }, normal({4, 3}));
  CHECK_MESSAGE(strided.ok, strided.worst);
}

TEST_CASE("rms_norm: a row's scale has no effect, its sign has") {
  const Variable x(normal({3, 9}));
  const Tensor y = rms_norm(x, {}, 0).value();
  CHECK(relative_error(rms_norm(x * 40.0, {}, 0).value(), y) < 1e-14);
  CHECK(relative_error(rms_norm(x * -3.0, {}, 0).value(), (Variable(y) * -1.0).value()) < 1e-14);
}

TEST_CASE("rms_norm: the layer starts with a weight of 1 and records its op") {
  RmsNorm norm(6, 1e-5);
  norm.set_path("blocks.0.in_norm");
  norm.initialise(1);
  REQUIRE(norm.parameters().size() == 1);
  CHECK(norm.parameters()[0].path() == "blocks.0.in_norm.weight");
  const Variable x(normal({2, 6}).to(DType::f32));
  Trace trace;
  Variable y;
  {
    const Trace::Recording recording(trace);
    y = norm(x, Pass{});
  }
  CHECK(y.value().to_vector() == rms_norm(x, {}, 1e-5).value().to_vector());
  REQUIRE(trace.records().size() == 1);
  CHECK(trace.records()[0].scope == "blocks.0.in_norm/rms_norm.0");
  CHECK(trace.values()[static_cast<size_t>(trace.records()[0].inputs[1])].parameter ==
        "blocks.0.in_norm.weight");
}

}  // namespace
}  // namespace vtrain
