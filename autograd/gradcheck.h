#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace vtrain {

struct GradReport {
  bool ok = true;
  std::string worst;  // where the largest disagreement is, in words
};

/// Compares backward of `f` with central differences at `inputs` (f64, one leaf each), element by
/// element. f's result may have any shape: it is contracted with fixed weights that no symmetry of
/// an op can hide.
///   ok: |analytic - numeric| <= tolerance * max(1, |numeric|). With step 1e-5 in f64 the
///   differences are good to about 1e-9.
GradReport gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                     const std::vector<Tensor>& inputs, double tolerance = 1e-6,
                     double step = 1e-5);
GradReport gradcheck(const std::function<Variable(const Variable&)>& f, const Tensor& input,
                     double tolerance = 1e-6, double step = 1e-5);

}  // namespace vtrain
