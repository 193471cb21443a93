#include "autograd/activation.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/trace.h"
#include "nn/layers/pointwise.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;
using Kind = ActivationKind;

constexpr std::pair<const char*, Kind> kNamed[] = {
    {"relu6", Kind::kRelu6},         {"sigmoid", Kind::kSigmoid},
    {"tanh", Kind::kTanh},           {"silu", Kind::kSilu},
    {"gelu_tanh", Kind::kGeluTanh},  {"hard_sigmoid", Kind::kHardSigmoid},
    {"hard_swish", Kind::kHardSwish}};

TEST_CASE("activation: every kind agrees with PyTorch") {
  const Golden golden("activation");
  for (const auto& [name, kind] : kNamed) {
    check_golden(golden, name, {"x"},
                 [kind = kind](const Values& v) { return activation(kind, v[0]); });
  }
  check_golden(golden, "leaky_relu", {"x"}, [](const Values& v) { return leaky_relu(v[0], 0.2); });
}

TEST_CASE("activation: gradients agree with finite differences") {
  const Random random(42, "", "activation_test");
  for (const Shape& shape : {Shape{1}, Shape{3, 17}}) {
    const Tensor x = random.normal(shape, {}, 0, DType::f64);
    for (const auto& named : kNamed) {
      CAPTURE(named.first);
      const Kind kind = named.second;
      const GradReport report =
          gradcheck([kind](const Variable& v) { return activation(kind, v * 3.0); }, x);
      CHECK_MESSAGE(report.ok, report.worst);
    }
    const GradReport leaky = gradcheck([](const Variable& v) { return leaky_relu(v, -0.3); }, x);
    CHECK_MESSAGE(leaky.ok, leaky.worst);
  }
}

// The element-wise ops of autograd/arithmetic.h keep their own bits; the values are the same.
TEST_CASE("activation: sigmoid and relu6 are those of the arithmetic") {
  const Variable x(Random(42, "", "same").normal({2, 50}, {}, 0, DType::f64));
  CHECK(relative_error(activation(Kind::kSigmoid, x).value(), sigmoid(x).value()) < 1e-15);
  CHECK(activation(Kind::kRelu6, x).value().to_vector() == relu6(x).value().to_vector());
}

TEST_CASE("activation: layers record the function's name below their path") {
  Relu6 relu6;
  Silu silu;
  HardSwish hard_swish;
  HardSigmoid hard_sigmoid;
  Sigmoid sigmoid;
  Tanh tanh;
  GeluTanh gelu_tanh;
  LeakyRelu leaky(0.2);
  const std::vector<std::pair<Module*, std::string>> layers = {
      {&relu6, "relu6"},           {&silu, "silu"},
      {&hard_swish, "hard_swish"}, {&hard_sigmoid, "hard_sigmoid"},
      {&sigmoid, "sigmoid"},       {&tanh, "tanh"},
      {&gelu_tanh, "gelu_tanh"},   {&leaky, "leaky_relu"}};
  for (const auto& [layer, name] : layers) {
    layer->set_path("features.3.act");
    Trace trace;
    {
      const Trace::Recording recording(trace);
      (*layer)(Variable(full({1, 2}, 2.0)), Pass{});
    }
    REQUIRE(trace.records().size() == 1);
    CHECK(trace.records()[0].scope == "features.3.act/" + name + ".0");
  }
}

TEST_CASE("activation: bf16 stays bf16, forward and backward") {
  for (const auto& named : kNamed) {
    CAPTURE(named.first);
    const Kind kind = named.second;
    const Variable x = Variable::leaf(full({3}, 1.5, DType::bf16));
    const Variable y = activation(kind, x);
    CHECK(y.value().dtype() == DType::bf16);
    backward(y, ones_like(y.value()));
    CHECK(x.grad().dtype() == DType::bf16);
    CHECK(x.grad().to_vector()[0] > 0);
  }
}

TEST_CASE("activation: leaky_relu without a slope is refused") {
  CHECK_THROWS_WITH_AS(activation(Kind::kLeakyRelu, Variable(zeros({1}))),
                       "[activation] leaky_relu: expected a slope; call leaky_relu(x, slope)",
                       ShapeError);
}

}  // namespace
}  // namespace vtrain
