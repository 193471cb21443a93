#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"
#include "tensor/safetensors.h"

namespace vtrain {

/// A stored reference, tests/golden/<name>.safetensors, written by tests/golden/make_golden.py.
class Golden {
 public:
  explicit Golden(const std::string& name);
  const Tensor& operator()(const std::string& tensor) const;  // throws Error naming what is missing
  bool has(const std::string& tensor) const { return content_.tensors.contains(tensor); }
  const std::string& name() const { return name_; }
  /// Names of the tensors that start with `prefix`, without it.
  std::vector<std::string> below(const std::string& prefix) const;

 private:
  std::string name_;
  NamedTensors content_;
};

/// max |actual - expected| / max |expected|: of a tensor as a whole, because a small element that
/// is the difference of large ones carries their rounding. NaN where exactly one of two is not
/// finite.
double relative_error(const Tensor& actual, const Tensor& expected);

/// Runs `f` on the stored inputs of one case and CHECKs the result and the gradient of every input,
/// in f64 and in f32. `inputs` are the inputs' stored names: "x" is "<case>.x", its gradient
/// "<case>.dx".
///
/// f64 to 1e-12: both sides round at 1e-16 over sums of at most some hundred terms. f32 to 1e-5 in
/// the values and 1e-4 in the gradients: the same sums at 6e-8; a gradient subtracts sums that are
/// nearly equal (softmax, layer norm), which costs another digit.
void check_golden(const Golden& golden, const std::string& test_case,
                  const std::vector<std::string>& inputs,
                  const std::function<Variable(const std::vector<Variable>&)>& f);

}  // namespace vtrain
