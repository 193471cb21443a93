#include "compress/deploy/fold.h"

#include <cmath>

namespace vtrain {

Tensor constant_of(int value, const PlanValues& values) {
  return value < 0 ? Tensor() : values[static_cast<size_t>(value)].constant;
}

ScaleShift scale_shift_of(const Graph::Node& node, const PlanValues& values) {
  if (attribute(node, "is_training") != 0) {
    throw Error(str("deploy: layer ", Graph::module_of(node),
                    ": expected batch norm with running statistics, got the batch's"));
  }
  const auto numbers = [&](size_t input, double otherwise, size_t count) {
    const Tensor t = constant_of(node.inputs[input], values);
    return t.defined() ? t.to_vector() : std::vector<double>(count, otherwise);
  };
  const std::vector<double> mean = numbers(4, 0, 0), var = numbers(5, 0, 0);
  const size_t channels = mean.size();
  const std::vector<double> weight = numbers(1, 1, channels), bias = numbers(2, 0, channels);
  const double eps = attribute(node, "eps");
  ScaleShift result;
  for (size_t c = 0; c < channels; ++c) {
    result.scale.push_back(weight[c] / std::sqrt(var[c] + eps));
    result.shift.push_back(bias[c] - mean[c] * result.scale[c]);
  }
  return result;
}

FoldedProduct fold(const Tensor& weight, const Tensor& bias, const ScaleShift& after) {
  std::vector<double> w = weight.to_vector();
  const size_t out = after.scale.size(), per_output = w.size() / out;
  std::vector<double> b = bias.defined() ? bias.to_vector() : std::vector<double>(out, 0);
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < per_output; ++i) w[o * per_output + i] *= after.scale[o];
    b[o] = b[o] * after.scale[o] + after.shift[o];
  }
  return {from_values(weight.shape(), w), from_values({weight.dim(0)}, b)};
}

}  // namespace vtrain
