#include "autograd/pool.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/gradcheck.h"
#include "autograd/shape.h"
#include "autograd/trace.h"
#include "nn/layers/average_pool2d.h"
#include "nn/layers/max_pool2d.h"
#include "tensor/ops/reduce.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;

Tensor normal(const Shape& shape, int lane = 0) {
  return Random(41, "", "pool_test").normal(shape, {}, lane, DType::f64);
}

struct Kind {
  const char* name;
  Pool2dOptions options;
};
const Kind kKinds[] = {
    {"2", {.kernel = 2}},
    {"3s2p1", {.kernel = 3, .stride = 2, .padding = 1}},
    {"3s2_ceil", {.kernel = 3, .stride = 2, .ceil_mode = true}},
    {"3s2p1_ceil", {.kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true}},
    {"2s3", {.kernel = 2, .stride = 3}},
    {"32s21p10", {.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 0}}},
};

TEST_CASE("max_pool2d: agrees with PyTorch, also where windows hold ties") {
  const Golden golden("pool");
  for (const Kind& kind : kKinds) {
    const auto f = [&](const Values& v) { return max_pool2d(v[0], kind.options); };
    check_golden(golden, str("max_", kind.name), {"x"}, f);
    check_golden(golden, str("max_", kind.name, "_ties"), {"x"}, f);
  }
}

TEST_CASE("average_pool2d: agrees with PyTorch, with the padding counted and left out") {
  const Golden golden("pool");
  for (Kind kind : kKinds) {
    const auto f = [&](const Values& v) { return average_pool2d(v[0], kind.options); };
    check_golden(golden, str("average_", kind.name), {"x"}, f);
    kind.options.count_include_pad = false;
    check_golden(golden, str("average_", kind.name, "_excluded"), {"x"}, f);
  }
}

TEST_CASE("adaptive pooling: agrees with PyTorch for sizes below, equal to and above the image's") {
  const Golden golden("pool");
  const std::pair<const char*, Extent2d> sizes[] = {{"1", 1}, {"7x2", {7, 2}}, {"6", 6}};
  for (const auto& [name, size] : sizes) {
    check_golden(golden, str("adaptive_max_", name), {"x"},
                 [size = size](const Values& v) { return adaptive_max_pool2d(v[0], size); });
    check_golden(golden, str("adaptive_average_", name), {"x"},
                 [size = size](const Values& v) { return adaptive_average_pool2d(v[0], size); });
  }
  check_golden(golden, "adaptive_max_large", {"x"}, [](const Values& v) {
    return adaptive_max_pool2d(v[0], {1, 2});
  });
}

TEST_CASE("pooling: gradients agree with finite differences for every kind of window") {
  const auto check = [](const auto& f, const Tensor& x) {
    const GradReport report = gradcheck([&](const Variable& v) { return f(v); }, x);
    CHECK_MESSAGE(report.ok, report.worst);
  };
  for (const Kind& kind : kKinds) {
    CAPTURE(kind.name);
    const Tensor x = normal({2, 3, 5, 6});
    check([&](const Variable& v) { return max_pool2d(v, kind.options); }, x);
    Pool2dOptions options = kind.options;
    for (const bool is_included : {true, false}) {
      options.count_include_pad = is_included;
      check([&](const Variable& v) { return average_pool2d(v, options); }, x);
    }
  }
  for (const Extent2d size : {Extent2d(1), Extent2d(2, 3), Extent2d(5, 7)}) {
    check([&](const Variable& v) { return adaptive_max_pool2d(v, size); }, normal({1, 2, 4, 3}));
    check([&](const Variable& v) { return adaptive_average_pool2d(v, size); },
          normal({1, 2, 4, 3}));
  }
  check([](const Variable& v) { return max_pool2d(transpose(v, 1, 3), {.kernel = 2}); },
        normal({2, 4, 5, 3}));
}

TEST_CASE("pooling: a size equal to the image's is the identity, size 1 its mean and maximum") {
  const Variable x(normal({2, 3, 4, 5}));
  const Extent2d own(4, 5);
  CHECK(adaptive_max_pool2d(x, own).value().to_vector() == x.value().to_vector());
  CHECK(adaptive_average_pool2d(x, own).value().to_vector() == x.value().to_vector());
  CHECK(relative_error(adaptive_average_pool2d(x, 1).value(),
                       mean(x, {2, 3}, /*keep_dims=*/true).value()) < 1e-14);
  // AlexNet on its smallest image: one position is repeated to 6 x 6.
  const Tensor one = adaptive_average_pool2d(Variable(full({1, 1, 1, 1}, 2.5)), 6).value();
  CHECK(one.to_vector() == std::vector<double>(36, 2.5));
}

TEST_CASE("pooling: without a gradient the positions of maxima are not kept, values are the same") {
  const Tensor x = normal({2, 3, 6, 6});
  const Variable y = max_pool2d(Variable(x), {.kernel = 2});
  CHECK_FALSE(y.requires_grad());
  CHECK(y.value().to_vector() == max_pool2d(Variable::leaf(x), {.kernel = 2}).value().to_vector());
}

TEST_CASE("pooling: layers record their op with its attributes below their path") {
  MaxPool2d largest({.kernel = 3, .stride = 2, .padding = 1});
  AveragePool2d average({.kernel = 2, .count_include_pad = false});
  AdaptiveAveragePool2d adaptive({2, 1});
  AdaptiveMaxPool2d adaptive_largest(1);
  largest.set_path("maxpool");
  average.set_path("branch.pool");
  adaptive.set_path("avgpool");
  adaptive_largest.set_path("head.pool");
  Trace trace;
  {
    const Trace::Recording recording(trace);
    const Variable x(zeros({1, 4, 16, 16}));
    const Variable y = adaptive(average(largest(x, {}), {}), {});
    CHECK(y.shape() == Shape{1, 4, 2, 1});
    adaptive_largest(y, {});
  }
  REQUIRE(trace.records().size() == 4);
  const auto attribute = [&](size_t record, const std::string& name) {
    for (const auto& [key, value] : trace.records()[record].op.attributes)
      if (key == name) return value;
    return -1.0;
  };
  CHECK(trace.records()[0].scope == "maxpool/max_pool2d.0");
  CHECK(attribute(0, "kernel_h") == 3);
  CHECK(attribute(0, "stride_w") == 2);
  CHECK(attribute(0, "padding_h") == 1);
  CHECK(trace.records()[1].scope == "branch.pool/average_pool2d.0");
  CHECK(attribute(1, "stride_h") == 2);
  CHECK(attribute(1, "count_include_pad") == 0);
  CHECK(trace.records()[2].scope == "avgpool/adaptive_average_pool2d.0");
  CHECK(attribute(2, "h") == 2);
  CHECK(trace.records()[3].scope == "head.pool/adaptive_max_pool2d.0");
}

TEST_CASE("pooling: bf16 images pool in bf16, forward and backward") {
  const auto check = [](const std::function<Variable(const Variable&)>& f) {
    const Variable x = Variable::leaf(normal({1, 4, 6, 6}).to(DType::bf16).channels_last());
    const Variable y = f(x);
    CHECK(y.value().dtype() == DType::bf16);
    backward(y, ones_like(y.value()));
    CHECK(x.grad().dtype() == DType::bf16);
    // Every dy arrives somewhere: powers of two, so exactly.
    CHECK(sum(x.grad().to(DType::f64)).item() == static_cast<double>(y.value().numel()));
  };
  check([](const Variable& x) { return max_pool2d(x, {.kernel = 2}); });
  check([](const Variable& x) { return average_pool2d(x, {.kernel = 2}); });
  check([](const Variable& x) { return adaptive_max_pool2d(x, 3); });
  check([](const Variable& x) { return adaptive_average_pool2d(x, 3); });
}

}  // namespace
}  // namespace vtrain
