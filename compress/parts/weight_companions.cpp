#include "compress/parts/weight_companions.h"

namespace vtrain {

WeightCompanions::WeightCompanions(const std::vector<Parameter>& weights) : weights_(weights) {
  for (const Parameter& weight : weights_)
    companions_.push_back(add(weight.path(), Parameter(weight.value().shape(), Init::zeros())));
}

std::shared_ptr<WeightCompanions> add_weight_companions(Run& run, const std::string& name,
                                                        const std::vector<Parameter>& weights,
                                                        double start) {
  auto all = std::make_shared<WeightCompanions>(weights);
  run.add_module(name, all);
  for (size_t i = 0; i < all->size(); ++i) {
    Parameter own = (*all)[i];
    own.set(full(own.value().shape(), start));
  }
  run.follow_cuts([all, &run](const Parameter& p, int axis, const std::vector<int64_t>& keep) {
    for (size_t i = 0; i < all->size(); ++i) {
      if (p == all->weight(i)) run.cut((*all)[i], axis, keep);
    }
  });
  return all;
}

}  // namespace vtrain
