#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/run.h"

namespace vtrain {

/// A number beside every element of some weights, in their shapes: a variance, a gate. Trained with
/// them, and cut where they are.
class WeightCompanions final : public Module {
 public:
  explicit WeightCompanions(const std::vector<Parameter>& weights);
  size_t size() const { return weights_.size(); }
  Parameter weight(size_t i) const { return weights_[i]; }
  Parameter operator[](size_t i) const { return companions_[i]; }

 private:
  std::vector<Parameter> weights_, companions_;
};

/// Adds them to a phase as the helper `name`, every element `start`. In attach.
std::shared_ptr<WeightCompanions> add_weight_companions(Run& run, const std::string& name,
                                                        const std::vector<Parameter>& weights,
                                                        double start);

}  // namespace vtrain
