#include "nn/parameter.h"

#include "autograd/shape.h"
#include "autograd/trace.h"
#include "nn/hooks.h"

namespace vtrain {

Parameter::Parameter(const Shape& shape, Init init, bool is_buffer)
    : data_(std::make_shared<Data>()) {
  data_->init = init;
  data_->is_buffer = is_buffer;
  data_->raw = Variable::leaf(zeros(shape));
}

void Parameter::move_to(Device device) {
  if (value().device() != device) data_->raw = Variable::leaf(value().to(device));
}

void Parameter::set(const Tensor& value) {
  if (value.shape() != data_->raw.shape()) {
    throw CheckpointError(str("parameter ", path(), ": expected shape ", data_->raw.shape(),
                              ", got ", value.shape()));
  }
  Tensor own = data_->raw.value();
  own.copy_from(value);
}

void Parameter::replace(Tensor value) { data_->raw = Variable::leaf(std::move(value)); }

Variable Parameter::raw(const Pass& pass) const {
  const bool trained = pass.wants_grad && !data_->is_buffer && !data_->frozen;
  Variable v = trained ? data_->raw : data_->raw.detach();
  if (Trace* const trace = Trace::active()) trace->name_parameter(v, data_->path);
  return v;
}

Variable Parameter::effective_full(const Pass& pass) const {
  Variable& full = (*pass.cache)[data_.get()].full;
  if (!full.defined()) {
    Variable v = raw(pass);
    if (pass.hooks) {
      for (const auto& transform : pass.hooks->weight_transforms(data_->path))
        v = transform.apply(v, pass);
    }
    full = v;  // an unordered_map keeps its elements where they are
  }
  return full;
}

Variable Parameter::effective(const Pass& pass) const {
  Variable full = effective_full(pass);
  if (full.value().dtype() != DType::f32 || pass.dtype == DType::f32) return full;
  Variable& computed = (*pass.cache)[data_.get()].computed;
  if (!computed.defined()) computed = cast(full, pass.dtype);
  return computed;
}

}  // namespace vtrain
