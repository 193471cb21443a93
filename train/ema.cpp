#include "train/ema.h"

#include "tensor/ops/indexing.h"
#include "tensor/ops/optimize.h"

namespace vtrain {

Ema::Ema(double decay, const std::vector<Parameter>& parameters)
    : decay_(decay), parameters_(parameters) {
  for (const Parameter& p : parameters_) averages_.push_back(p.value().clone());
}

void Ema::update() {
  std::vector<Tensor> values;
  for (const Parameter& p : parameters_) values.push_back(p.value());
  ema_update(values, averages_, decay_);
}

void Ema::cut(const Parameter& parameter, int axis, const std::vector<int64_t>& keep) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i] == parameter) averages_[i] = kept(averages_[i], axis, keep);
  }
}

void Ema::forget(const Parameter& parameter) {
  for (size_t i = parameters_.size(); i-- > 0;) {
    if (!(parameters_[i] == parameter)) continue;
    parameters_.erase(parameters_.begin() + static_cast<std::ptrdiff_t>(i));
    averages_.erase(averages_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

std::map<std::string, Tensor> Ema::state() const {
  std::map<std::string, Tensor> tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) tensors[parameters_[i].path()] = averages_[i];
  return tensors;
}

void Ema::load_state(const std::map<std::string, Tensor>& tensors, const std::string& from) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto found = tensors.find(parameters_[i].path());
    if (found == tensors.end())
      throw CheckpointError(str(from, ": has no moving average of ", parameters_[i].path()));
    averages_[i].copy_from(found->second);
  }
}

Ema::Applied::Applied(Ema* ema) : ema_(ema) {
  if (!ema_) return;
  for (size_t i = 0; i < ema_->parameters_.size(); ++i) {
    raw_.push_back(ema_->parameters_[i].value().clone());
    ema_->parameters_[i].set(ema_->averages_[i]);
  }
}

Ema::Applied::~Applied() {
  if (!ema_) return;
  for (size_t i = 0; i < raw_.size(); ++i) ema_->parameters_[i].set(raw_[i]);
}

}  // namespace vtrain
