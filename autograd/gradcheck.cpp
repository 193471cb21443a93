#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "autograd/arithmetic.h"

namespace vtrain {
namespace {
Variable contracted(const Variable& y) {
  Tensor weights = Tensor::empty(y.shape(), DType::f64);
  double* const w = weights.data<double>();
  for (int64_t i = 0; i < weights.numel(); ++i) w[i] = std::sin(1.0 + 1.7 * static_cast<double>(i));
  return sum(y * Variable(weights));
}
}  // namespace

GradReport gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                     const std::vector<Tensor>& inputs, double tolerance, double step) {
  std::vector<Variable> leaves;
  for (const Tensor& input : inputs) {
    if (input.dtype() != DType::f64)
      throw ShapeError(str("[gradcheck] input: expected f64, got ", input.text()));
    leaves.push_back(Variable::leaf(input.contiguous().clone()));
  }
  backward(contracted(f(leaves)));

  GradReport report;
  double worst = 0;
  for (size_t k = 0; k < inputs.size(); ++k) {
    const Tensor grad = leaves[k].grad().defined() ? leaves[k].grad().contiguous()
                                                   : zeros(inputs[k].shape(), DType::f64);
    std::vector<Variable> moved;
    for (const Tensor& input : inputs) moved.emplace_back(input.contiguous().clone());
    for (int64_t i = 0; i < inputs[k].numel(); ++i) {
      Tensor at = moved[k].value();
      double& x = at.data<double>()[i];
      const double middle = x;
      x = middle + step;
      const double above = contracted(f(moved)).value().item();
      x = middle - step;
      const double below = contracted(f(moved)).value().item();
      x = middle;
      const double numeric = (above - below) / (2 * step), analytic = grad.data<double>()[i];
      const double error = std::abs(numeric - analytic) / std::max(1.0, std::abs(numeric));
      if (std::isnan(error) || error > worst) {  // once NaN, worst stays NaN
        worst = error;
        report.worst = str("input ", k, " element ", i, ": backward ", analytic,
                           ", central difference ", numeric);
      }
    }
  }
  report.ok = worst <= tolerance;  // false for NaN
  return report;
}

GradReport gradcheck(const std::function<Variable(const Variable&)>& f, const Tensor& input,
                     double tolerance, double step) {
  return gradcheck([&f](const std::vector<Variable>& v) { return f(v[0]); },
                   std::vector<Tensor>{input}, tolerance, step);
}

}  // namespace vtrain
