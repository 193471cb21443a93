#include "compress/edit.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace vtrain {

double relative_difference(const Tensor& a, const Tensor& b) {
  check_same_shape("relative_difference", "a", a, "b", b);
  const std::vector<double> x = a.to_vector(), y = b.to_vector();
  double difference = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference = std::max(difference, std::abs(x[i] - y[i]));
    scale = std::max(scale, std::abs(x[i]));
  }
  return scale > 0 ? difference / scale : difference;
}

Edit::Edit(Network& network, std::string owner, Context context)
    : network_(network), owner_(std::move(owner)), context_(std::move(context)) {}

Edit& Edit::replace(std::string place, std::shared_ptr<Module> part) {
  for (const PartRecord& there : network_.architecture().parts) {
    if (there.place == place)
      throw RecipeError(str(owner_, ": ", place, " has a part of an earlier phase, ", there.kind,
                            ", already; only one can stand there"));
  }
  parts_.emplace_back(std::move(place), std::move(part));
  return *this;
}

Edit& Edit::cut(const CutGroups& groups, Cut cut) {
  if (groups_ != nullptr) throw Error(str("edit of ", owner_, ": expected one cut, got two"));
  groups_ = &groups;
  cut_ = std::move(cut);
  return *this;
}

void Edit::apply() {
  if (!parts_.empty()) {
    const Tensor before = network_.logits(context_.images);
    network_.hooks().remove_owner(owner_);
    for (auto& [place, part] : parts_) network_.set_part(place, std::move(part));
    parts_.clear();
    context_.verified(relative_difference(before, network_.logits(context_.images)));
  }
  if (groups_ != nullptr) apply_cut();
}

namespace {

/// Logits without rounding: a code that turns at a tie is no difference between two structures, and
/// a quantizer without a code for 0 has no masked form.
Tensor logits_in_reals(Network& network, const Tensor& images) {
  const Hooks hooks = network.hooks().without(Slot::kQuantize);
  Pass pass;
  pass.hooks = &hooks;
  return network.root().outputs(Variable(images.to(network.device())), pass).logits.value();
}

}  // namespace

void Edit::apply_cut() {
  const NetworkCut plan = groups_->plan(cut_);
  network_.hooks().remove_owner(owner_);
  mask(network_, *groups_, cut_);
  const std::string masking = owner_ + ".masked layer norm";
  mask_layer_norms(network_, *groups_, cut_, masking);
  const Tensor masked = logits_in_reals(network_, context_.images);
  network_.hooks().remove_owner(masking);

  network_.cut(plan);
  if (context_.follow) {
    std::map<std::string, Parameter> parameters;
    for (const Parameter& p : network_.parameters()) parameters.emplace(p.path(), p);
    for (const NetworkCut::Axis& a : plan.axes)
      context_.follow(parameters.at(a.parameter), a.axis, a.keep);
  }
  groups_ = nullptr;
  context_.verified(relative_difference(masked, logits_in_reals(network_, context_.images)));
}

}  // namespace vtrain
