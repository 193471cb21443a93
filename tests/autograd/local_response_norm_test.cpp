#include "autograd/local_response_norm.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/trace.h"
#include "nn/layers/local_response_norm.h"
#include "tensor/random.h"
#include "tests/golden.h"

namespace vtrain {
namespace {

using Values = std::vector<Variable>;
using Options = LocalResponseNormOptions;

const std::pair<const char*, Options> kCases[] = {
    {"n5_a0.0001", {.size = 5, .alpha = 1e-4, .beta = 0.75, .k = 1}},
    {"n5_a2", {.size = 5, .alpha = 2, .beta = 0.75, .k = 2}},
    {"n2_a1", {.size = 2, .alpha = 1, .beta = 0.5, .k = 1}},
    {"n4_a3", {.size = 4, .alpha = 3, .beta = 0.75, .k = 1}},
    {"n9_a1", {.size = 9, .alpha = 1, .beta = 1.5, .k = 1}}};

TEST_CASE("local_response_norm: agrees with PyTorch for odd and even sizes") {
  const Golden golden("local_response_norm");
  for (const auto& [name, options] : kCases) {
    check_golden(golden, name, {"x"}, [options = options](const Values& v) {
      return local_response_norm(v[0], options);
    });
  }
}

TEST_CASE("local_response_norm: the gradient agrees with finite differences") {
  const Random random(44, "", "local_response_norm_test");
  for (const auto& named : kCases) {
    CAPTURE(named.first);
    for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 6, 1, 2}}) {
      const GradReport report =
          gradcheck([&](const Variable& v) { return local_response_norm(v, named.second); },
                    random.normal(shape, {}, 0, DType::f64));
      CHECK_MESSAGE(report.ok, report.worst);
    }
  }
}

TEST_CASE("local_response_norm: the layer records its op with its numbers") {
  LocalResponseNorm norm;
  norm.set_path("norm1");
  Trace trace;
  {
    const Trace::Recording recording(trace);
    norm(Variable(zeros({1, 3, 2, 2})), Pass{});
  }
  REQUIRE(trace.records().size() == 1);
  CHECK(trace.records()[0].scope == "norm1/local_response_norm.0");
  const std::vector<std::pair<std::string, double>> expected = {
      {"size", 5}, {"alpha", 1e-4}, {"beta", 0.75}, {"k", 1}};
  CHECK(trace.records()[0].op.attributes == expected);
}

}  // namespace
}  // namespace vtrain
