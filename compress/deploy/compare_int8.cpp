#include "compress/deploy/compare_int8.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/trace.h"
#include "compress/deploy/compare.h"
#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

constexpr const char* kOwner = "compare";
constexpr double kRealTolerance = 1e-4;  // f32 in another order, where layers stay real

/// Every value of one pass of the twin, before hooks round it.
class TwinValues {
 public:
  TwinValues(Network& twin, const Tensor& images) : images_(images) {
    std::map<std::string, Tap> products;
    for (const Module* const module : twin.root().modules()) {
      const Hooks::AtModule* const hooks = twin.hooks().at(module->path());
      if (hooks && !hooks->wraps.empty())
        products[module->path()] = twin.hooks().tap(module->path() + ".out", kOwner);
    }
    Trace trace;
    const Trace::Recording recording(trace);
    Pass pass;
    pass.hooks = &twin.hooks();
    twin.root().outputs(Variable(images.channels_last()), pass);
    for (const Trace::Record& record : trace.records()) {
      const auto product = products.find(record.scope.substr(0, record.scope.find('/')));
      const bool multiplies = record.op.name == "conv2d" || record.op.name == "linear";
      // A layer that computes on codes has its reals behind its wrap, where they are scaled.
      value_of_[record.scope] = multiplies && product != products.end()
                                    ? product->second.value().value()
                                    : trace.tensor(record.output);
    }
    twin.hooks().remove_owner(kOwner);
  }

  /// What the op at a scope of the plan made, in the plan's form; undefined where the twin has no
  /// such value, because the plan has turned or cut it.
  Tensor at(const std::string& plan_scope, const std::optional<QuantizedType>& codes,
            const Shape& shape) const {
    std::string scope = plan_scope;
    if (scope.ends_with(":codes")) scope.resize(scope.size() - 6);
    Tensor value;
    if (scope.empty() || scope == "/images") {
      value = images_;
    } else if (const auto found = value_of_.find(scope); found != value_of_.end()) {
      value = found->second;
    }
    if (!value.defined() || value.shape() != shape) return {};
    return codes ? Quantizer(*codes).codes(value.is_dense() ? value : value.contiguous()) : value;
  }

 private:
  const Tensor& images_;
  std::map<std::string, Tensor> value_of_;
};

void count(const Tensor& a, const Tensor& b, Int8Difference::Step& step) {
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  step.elements = static_cast<int64_t>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    step.differing += x[i] != y[i];
    step.worst = std::max(step.worst, static_cast<int64_t>(std::abs(x[i] - y[i])));
  }
}

}  // namespace

Int8Difference compare_int8(Plan& plan, Network& twin, const Tensor& images) {
  const TwinValues values(twin, images);
  const std::vector<Plan::LayerOutput> outputs = plan.run_layers(
      images,
      [&](const std::string& scope, const std::optional<QuantizedType>& codes, Tensor& value) {
        if (const Tensor own = values.at(scope, codes, value.shape()); own.defined())
          value.copy_from(own);
      });
  Int8Difference all;
  for (const Plan::LayerOutput& output : outputs) {
    const Tensor own = values.at(output.scope, output.codes, output.value.shape());
    if (!own.defined()) continue;
    Int8Difference::Step step{.layers = output.layers, .gives_codes = output.codes.has_value()};
    if (step.gives_codes) {
      count(output.value, own, step);
    } else {
      step.reals = max_relative_difference(output.value, own);
    }
    all.worst_codes = std::max(all.worst_codes, step.worst);
    if (!(step.reals <= all.worst_reals)) all.worst_reals = step.reals;
    const bool is_off = step.worst > 1 || !(step.reals <= kRealTolerance);
    if (is_off && all.first.empty()) all.first = step.layers;
    all.steps.push_back(std::move(step));
  }
  return all;
}

void ClassAgreement::add(const Tensor& logits, const Tensor& twin_logits) {
  check_same_shape("class_agreement", "logits", logits, "twin_logits", twin_logits);
  const std::vector<double> own = argmax_rows(logits).to_vector(),
                            twins = argmax_rows(twin_logits).to_vector();
  for (size_t i = 0; i < own.size(); ++i) same += own[i] == twins[i];
  images += logits.dim(0);
}

}  // namespace vtrain
