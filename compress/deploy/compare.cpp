#include "compress/deploy/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/trace.h"

namespace vtrain {

double max_relative_difference(const Tensor& a, const Tensor& b) {
  check_same_shape("max_relative_difference", "a", a, "b", b);
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) || std::isnan(y[i])) return std::numeric_limits<double>::quiet_NaN();
    difference = std::max(difference, std::abs(x[i] - y[i]));
    size = std::max(size, std::abs(y[i]));
  }
  return difference == 0 ? 0 : difference / size;
}

namespace {

/// The share of rows, one per image, in which a and b are not all equal.
double share_of_other_rows(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  const auto rows = static_cast<size_t>(a.dim(0));
  const size_t row = rows == 0 ? 0 : x.size() / rows;
  size_t other = 0;
  for (size_t i = 0; i < rows; ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(i * row),
               end = static_cast<std::ptrdiff_t>((i + 1) * row);
    other += std::equal(x.begin() + begin, x.begin() + end, y.begin() + begin) ? 0 : 1;
  }
  return rows == 0 ? 0 : static_cast<double>(other) / static_cast<double>(rows);
}

}  // namespace

PlanDifference compare(Plan& plan, Network& network, const Tensor& images, double tolerance) {
  Trace trace;
  Variable logits;
  {
    const Trace::Recording recording(trace);
    logits = network.root().outputs(Variable(images.channels_last()), Pass{}).logits;
  }
  std::map<std::string, int> value_of;  // by scope
  for (const Trace::Record& record : trace.records()) value_of[record.scope] = record.output;

  // Undefined where the network has no such value: a copy or a cast is the plan's own.
  const auto own = [&](const std::string& scope, const Tensor& value) {
    const auto found = value_of.find(scope);
    if (found == value_of.end() || trace.tensor(found->second).shape() != value.shape())
      return Tensor();
    return trace.tensor(found->second);
  };
  const auto give = [&](const std::string& scope, const std::optional<QuantizedType>&,
                        Tensor& value) {
    if (value.dtype() != DType::i32) return;
    if (const Tensor decided = own(scope, value); decided.defined()) value.copy_from(decided);
  };

  PlanDifference result;
  Tensor given_logits;
  for (const Plan::LayerOutput& layer : plan.run_layers(images, give)) {
    const Tensor expected = own(layer.scope, layer.value);
    if (!expected.defined()) continue;
    if (value_of.at(layer.scope) == trace.find(logits)) given_logits = layer.value;
    if (layer.value.dtype() == DType::i32) {
      result.decisions = std::max(result.decisions, share_of_other_rows(layer.value, expected));
      continue;
    }
    const double difference = max_relative_difference(layer.value, expected);
    if (!(difference <= tolerance) && result.first_layer.empty()) result.first_layer = layer.layers;
    if (!(difference <= result.worst_layer)) result.worst_layer = difference;
  }
  const bool decides_alike = result.decisions == 0 || !given_logits.defined();
  result.logits =
      max_relative_difference(decides_alike ? plan.run(images) : given_logits, logits.value());
  return result;
}

}  // namespace vtrain
