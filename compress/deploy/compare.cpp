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

PlanDifference compare(Plan& plan, Network& network, const Tensor& images, double tolerance) {
  Trace trace;
  Variable logits;
  {
    const Trace::Recording recording(trace);
    logits = network.root().outputs(Variable(images.channels_last()), Pass{}).logits;
  }
  std::map<std::string, int> value_of;  // by scope
  for (const Trace::Record& record : trace.records()) value_of[record.scope] = record.output;

  PlanDifference result;
  for (const Plan::LayerOutput& layer : plan.run_layers(images)) {
    const auto found = value_of.find(layer.scope);
    // A copy or a cast is the plan's own.
    if (found == value_of.end() || trace.tensor(found->second).shape() != layer.value.shape())
      continue;
    const double difference = max_relative_difference(layer.value, trace.tensor(found->second));
    if (!(difference <= tolerance) && result.first_layer.empty()) result.first_layer = layer.layers;
    if (!(difference <= result.worst_layer)) result.worst_layer = difference;
  }
  result.logits = max_relative_difference(plan.run(images), logits.value());
  return result;
}

}  // namespace vtrain
