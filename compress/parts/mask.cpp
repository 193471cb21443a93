#include "compress/parts/mask.h"

#include <algorithm>

#include "autograd/arithmetic.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {

Shape mask_shape(const Shape& parameter, WeightMasks::Form form) {
  if (form == WeightMasks::Form::kElements) return parameter;
  Shape rows(parameter.size(), 1);
  rows[0] = parameter[0];
  return rows;
}

/// w * mask, whose gradient is that of the product handed on to w whole.
Variable straight_through(const Variable& w, const Tensor& mask) {
  return Variable::from({.name = "masked"}, multiply(w.value(), mask), {w},
                        [](const Tensor& dy) { return Grads{dy}; });
}

}  // namespace

WeightMasks::WeightMasks(const std::vector<Parameter>& parameters, Form form) {
  for (const Parameter& p : parameters) {
    const Parameter mask(mask_shape(p.value().shape(), form), Init::ones(), /*is_buffer=*/true);
    entries_.push_back({p, add(p.path(), mask)});
  }
}

const WeightMasks::Entry& WeightMasks::of(std::string_view parameter) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& e) { return e.parameter.path() == parameter; });
  if (found == entries_.end()) throw Error(str("mask: there is none of ", parameter));
  return *found;
}

void WeightMasks::join(Run& run, const std::string& name,
                       const std::shared_ptr<WeightMasks>& self) {
  run.add_module(name, self);
  run.follow_cuts([self](const Parameter& parameter, int axis, const std::vector<int64_t>& keep) {
    for (const Entry& e : self->entries_) {
      if (!(e.parameter == parameter)) continue;
      Parameter mask = e.mask;
      const bool is_repeated = axis > 0 && mask.value().dim(axis) == 1;  // of rows, along columns
      if (!is_repeated) mask.replace(kept(mask.value(), axis, keep));
    }
  });
}

ValueFn WeightMasks::transform(const Entry& entry, Gradient gradient) {
  return [mask = entry.mask, gradient](const Variable& w, const Pass&) {
    return gradient == Gradient::kHard ? w * Variable(mask.value())
                                       : straight_through(w, mask.value());
  };
}

void WeightMasks::apply() const {
  for (const Entry& e : entries_) {
    Tensor w = e.parameter.value();
    w.copy_from(multiply(w, e.mask.value()));
  }
}

void WeightMasks::apply_to_moments(Run& run) const {
  for (const Entry& e : entries_) {
    for (Tensor& moment : run.moments(e.parameter))
      moment.copy_from(multiply(moment, e.mask.value()));
  }
}

int64_t WeightMasks::zeros() const {
  int64_t nonzero = 0;
  for (const Entry& e : entries_) nonzero += count_nonzero(e.mask.value());
  return size() - nonzero;
}

int64_t WeightMasks::size() const {
  int64_t size = 0;
  for (const Entry& e : entries_) size += e.mask.value().numel();
  return size;
}

int64_t count_nonzero(const Tensor& x) {
  const std::vector<double> values = x.to_vector();
  return std::count_if(values.begin(), values.end(), [](double v) { return v != 0; });
}

void set_mask(const WeightMasks::Entry& entry, const std::vector<char>& kept) {
  std::vector<double> values(kept.size());
  std::transform(kept.begin(), kept.end(), values.begin(),
                 [](char k) { return k != 0 ? 1.0 : 0.0; });
  Parameter mask = entry.mask;
  mask.set(from_values(mask.value().shape(), values));
}

}  // namespace vtrain
