#include "autograd/conv2d.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "autograd/trace.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(13, "", "conv2d_test").normal(shape, {}, lane, DType::f64);
}
using Values = std::vector<Variable>;

TEST_CASE("conv2d: agrees with PyTorch for every kind of stride, padding, dilation and groups") {
  const std::map<std::string, Conv2dOptions> cases{
      {"plain", {.padding = 1}},
      {"no_bias", {}},
      {"strided", {.stride = {2, 3}, .padding = {1, 1, 0, 0}}},
      {"asymmetric", {.stride = 2, .padding = {0, 1, 2, 0}}},
      {"dilated", {.padding = {2, 2, 1, 1}, .dilation = {2, 3}}},
      {"grouped", {.padding = 1, .groups = 2}},
      {"depthwise", {.padding = 1, .groups = 5}},
      {"depthwise_strided", {.stride = 2, .padding = 2, .groups = 3}},
      {"multiplier", {.padding = 1, .groups = 3}},
      {"pointwise", {}},
      {"pointwise_strided", {.stride = 2}},
      {"one_filter", {}},
  };
  const Golden golden("conv2d");
  for (const auto& [name, options] : cases) {
    std::vector<std::string> inputs{"x", "w"};
    if (golden.has(name + ".b")) inputs.emplace_back("b");
    check_golden(golden, name, inputs, [&, o = options](const Values& v) {
      return conv2d(v[0], v[1], v.size() > 2 ? v[2] : Variable(), o);
    });
  }
}

TEST_CASE("conv2d: gradients agree with finite differences") {
  struct Case {
    Shape x, w;
    Conv2dOptions options;
  };
  const std::vector<Case> cases{
      {{2, 3, 4, 5}, {4, 3, 3, 3}, {.padding = 1}},
      {{1, 2, 5, 6}, {2, 2, 3, 2}, {.stride = {2, 1}, .padding = {0, 1, 1, 0}, .dilation = {1, 2}}},
      {{2, 4, 3, 4}, {6, 2, 2, 2}, {.groups = 2}},
      {{1, 3, 5, 4}, {3, 1, 3, 3}, {.stride = 2, .padding = 1, .groups = 3}},
      {{1, 2, 4, 4}, {4, 1, 3, 3}, {.padding = 1, .groups = 2}},
      {{2, 3, 3, 2}, {2, 3, 1, 1}, {}},
      {{1, 2, 5, 4}, {3, 2, 1, 1}, {.stride = 2}},
  };
  for (const Case& c : cases) {
    CAPTURE(shape_text(c.w));
    const GradReport report =
        gradcheck([&](const Values& v) { return conv2d(v[0], v[1], v[2], c.options); },
                  {normal(c.x), normal(c.w, 1), normal({c.w[0]}, 2)});
    CHECK_MESSAGE(report.ok, report.worst);
    const GradReport bare =
        gradcheck([&](const Values& v) { return conv2d(v[0], v[1], {}, c.options); },
                  {normal(c.x), normal(c.w, 1)});
    CHECK_MESSAGE(bare.ok, bare.worst);
  }
}

TEST_CASE("conv2d: each input alone gets the right gradient when the others are constants") {
  const Tensor x = normal({2, 2, 3, 3}), w = normal({3, 2, 2, 2}, 1), b = normal({3}, 2);
  const GradReport of_x = gradcheck([&](const Variable& v) { return conv2d(v, w, b); }, x);
  CHECK_MESSAGE(of_x.ok, of_x.worst);
  const GradReport of_w = gradcheck([&](const Variable& v) { return conv2d(x, v, b); }, w);
  CHECK_MESSAGE(of_w.ok, of_w.worst);
  const GradReport of_b = gradcheck([&](const Variable& v) { return conv2d(x, w, v); }, b);
  CHECK_MESSAGE(of_b.ok, of_b.worst);
}

TEST_CASE("conv2d: in bf16 the weight's and the bias's gradients stay wide, also behind a cast") {
  const Variable x(normal({2, 4, 5, 5}).to(DType::bf16)),
      w = Variable::leaf(normal({3, 4, 3, 3}, 1).to(DType::f32)),
      b = Variable::leaf(normal({3}, 2).to(DType::f32));
  const Variable y = conv2d(x, cast(w, DType::bf16), b, {.padding = 1});
  CHECK(y.value().dtype() == DType::bf16);
  const Tensor dy = normal(y.shape(), 3).to(DType::bf16);
  backward(y, dy);
  REQUIRE(w.grad().dtype() == DType::f32);
  REQUIRE(b.grad().dtype() == DType::f32);
  // Sums of 50 products of exact inputs in f32; a gradient rounded to bf16 would be off by 2e-3.
  const Tensor exact =
      conv2d_grad_w(dy.to(DType::f64), x.value().to(DType::f64), w.shape(), {.padding = 1});
  CHECK(relative_error(w.grad(), exact) < 2e-6);
  CHECK(relative_error(b.grad(), conv2d_grad_b(dy.to(DType::f64))) < 2e-6);
}

TEST_CASE("conv2d: the trace has the multiply-adds and every option") {
  Trace trace;
  {
    const Trace::Recording recording(trace);
    conv2d(Variable(zeros({2, 6, 9, 8})), Variable(zeros({4, 3, 3, 2})), {},
           {.stride = {2, 1}, .padding = {1, 2, 3, 4}, .dilation = {1, 5}, .groups = 2});
  }
  REQUIRE(trace.records().size() == 1);
  const Op& op = trace.records()[0].op;
  CHECK(op.name == "conv2d");
  CHECK(op.macs == 4 * 3 * 3 * 2 * (5 * 10) * 2);  // Cout Cin/g kh kw H' W' N
  const std::map<std::string, double> attributes(op.attributes.begin(), op.attributes.end());
  CHECK(attributes == std::map<std::string, double>{{"stride_h", 2},
                                                    {"stride_w", 1},
                                                    {"pad_top", 1},
                                                    {"pad_bottom", 2},
                                                    {"pad_left", 3},
                                                    {"pad_right", 4},
                                                    {"dilation_h", 1},
                                                    {"dilation_w", 5},
                                                    {"groups", 2}});
}

}  // namespace
}  // namespace vtrain
