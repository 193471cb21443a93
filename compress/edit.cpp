#include "compress/edit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

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

namespace {
/// A copy shares the cache of effective weights, which is one pass's.
Pass fresh(const Pass& now) {
  Pass pass = now;
  pass.cache = std::make_shared<Pass::Cache>();
  return pass;
}
}  // namespace

/// Without rounding: a code that turns at a tie is no difference between two structures, and where
/// zeros stand for what a cut will take, a quantizer without a code for 0 brings them back.
Tensor Edit::logits() {
  const Hooks hooks = network_.hooks().without(Slot::kQuantize);
  Pass pass = fresh(context_.pass);
  pass.hooks = &hooks;
  return network_.root()
      .outputs(Variable(context_.images.to(network_.device())), pass)
      .logits.value();
}

Edit& Edit::grow(const CutGroups& groups, const Growth& growth) {
  if (growth_) throw Error(str("edit of ", owner_, ": expected one growth, got two"));
  growth_ = groups.plan_growth(growth);
  return *this;
}

Edit& Edit::drop(std::string module) {
  network_.module(module);  // throws
  dropped_.push_back(std::move(module));
  return *this;
}

void Edit::apply() {
  if (!parts_.empty() || !dropped_.empty() || growth_) {
    const Tensor before = logits();
    network_.hooks().remove_owner(owner_);
    for (auto& [place, part] : parts_) network_.set_part(place, std::move(part));
    parts_.clear();
    drop_modules();
    if (growth_) {
      network_.grow(*growth_);
      follow(growth_->axes, &NetworkGrowth::Axis::from);
      growth_.reset();
    }
    context_.verified(relative_difference(before, logits()));
  }
  if (groups_ != nullptr) apply_cut();
}

/// Who keeps state beside parameters that are gone must forget it: a checkpoint could not place it.
void Edit::drop_modules() {
  if (dropped_.empty()) return;
  const std::vector<Parameter> before = network_.parameters();
  network_.cut({.axes = {}, .structure = {}, .dropped = dropped_});
  dropped_.clear();
  std::set<const void*> left;
  for (const Parameter& p : network_.parameters()) left.insert(p.id());
  for (const Parameter& p : before) {
    if (left.contains(p.id())) continue;
    p.clear_grad();
    if (context_.forget) context_.forget(p);
  }
}

template <class Axis>
void Edit::follow(const std::vector<Axis>& axes, std::vector<int64_t> Axis::*keep) {
  if (!context_.follow) return;
  std::map<std::string, Parameter> parameters;
  for (const Parameter& p : network_.parameters()) parameters.emplace(p.path(), p);
  for (const Axis& a : axes) context_.follow(parameters.at(a.parameter), a.axis, a.*keep);
}

void Edit::apply_cut() {
  const NetworkCut plan = groups_->plan(cut_);
  network_.hooks().remove_owner(owner_);
  mask(network_, *groups_, cut_);
  const std::string masking = owner_ + ".masked layer norm";
  mask_layer_norms(network_, *groups_, cut_, masking);
  const Tensor masked = logits();
  network_.hooks().remove_owner(masking);

  network_.cut(plan);
  follow(plan.axes, &NetworkCut::Axis::keep);
  groups_ = nullptr;
  context_.verified(relative_difference(masked, logits()));
}

}  // namespace vtrain
