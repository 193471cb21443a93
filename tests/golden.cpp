#include "tests/golden.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace vtrain {

Golden::Golden(const std::string& name)
    : name_(name),
      content_(read_safetensors(str(VTRAIN_SOURCE_DIR, "/tests/golden/", name, ".safetensors"))) {}

const Tensor& Golden::operator()(const std::string& tensor) const {
  const auto found = content_.tensors.find(tensor);
  if (found == content_.tensors.end()) {
    throw Error(str("tests/golden/", name_, ".safetensors: has no tensor ", tensor));
  }
  return found->second;
}

std::vector<std::string> Golden::below(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : content_.tensors) {
    if (name.starts_with(prefix)) names.push_back(name.substr(prefix.size()));
  }
  return names;
}

double relative_error(const Tensor& actual, const Tensor& expected) {
  check_same_shape("relative_error", "actual", actual, "expected", expected);
  const std::vector<double> a = actual.to_vector(), e = expected.to_vector();
  double error = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double off = std::abs(a[i] - e[i]);
    if (std::isnan(off) && !(std::isnan(a[i]) && std::isnan(e[i])) && a[i] != e[i]) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    if (off > error) error = off;
    scale = std::max(scale, std::abs(e[i]));
  }
  return scale > 0 ? error / scale : error;
}

void check_golden(const Golden& golden, const std::string& test_case,
                  const std::vector<std::string>& inputs,
                  const std::function<Variable(const std::vector<Variable>&)>& f) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    CAPTURE(test_case);
    CAPTURE(name_of(dtype));
    std::vector<Variable> leaves;
    for (const std::string& name : inputs) {
      leaves.push_back(Variable::leaf(golden(test_case + '.' + name).to(dtype).clone()));
    }
    const Variable y = f(leaves);
    CHECK(y.value().dtype() == dtype);
    CHECK(relative_error(y.value(), golden(test_case + ".y")) <=
          (dtype == DType::f64 ? 1e-12 : 1e-5));
    backward(y, golden(test_case + ".dy").to(dtype));
    for (size_t i = 0; i < inputs.size(); ++i) {
      CAPTURE(inputs[i]);
      REQUIRE(leaves[i].grad().defined());
      CHECK(relative_error(leaves[i].grad(), golden(test_case + ".d" + inputs[i])) <=
            (dtype == DType::f64 ? 1e-12 : 1e-4));
    }
  }
}

}  // namespace vtrain
