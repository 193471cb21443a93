#include "tensor/ops/optimize.h"

#include <vector>

#include "tensor/ops/memory_order.h"

namespace vtrain {
namespace {

void check_changed(const char* op, const char* name, const Tensor& x, const Device& device) {
  check_floating(op, name, x);
  if (!x.is_dense())
    throw ShapeError(str('[', op, "] ", name, ": expected elements without holes, got ", x.text()));
  if (x.device() != device) {
    throw ShapeError(
        str('[', op, "] ", name, ": expected all tensors on ", device.text(), ", got ", x.text()));
  }
}
void check_like(const char* op, const char* parameter_name, const Tensor& parameter,
                const char* name, const Tensor& x) {
  check_floating(op, name, x);
  check_same_shape(op, parameter_name, parameter, name, x);
  check_same_dtype(op, parameter_name, parameter, name, x);
}
void check_state(const char* op, const Tensor& parameter, const char* name, const Tensor& x) {
  check_like(op, "parameter", parameter, name, x);
  if (x.strides() != parameter.strides()) {
    throw ShapeError(
        str('[', op, "] ", name, ": expected the memory order of parameter ", parameter.text()));
  }
}

}  // namespace

void adamw_update(std::span<AdamwTensors> tensors, const AdamwOptions& options) {
  constexpr const char* op = "adamw_update";
  if (options.step < 1)
    throw ShapeError(str('[', op, "] step: expected at least 1, got ", options.step));
  if (tensors.empty()) return;
  const Device device = tensors.front().parameter.device();
  for (const AdamwTensors& t : tensors) {
    check_changed(op, "parameter", t.parameter, device);
    check_like(op, "parameter", t.parameter, "grad", t.grad);
    check_state(op, t.parameter, "exp_avg", t.exp_avg);
    check_state(op, t.parameter, "exp_avg_sq", t.exp_avg_sq);
  }
  std::vector<AdamwTensors> ordered(tensors.begin(), tensors.end());
  for (AdamwTensors& t : ordered) t.grad = in_order_of(t.parameter, t.grad);
  optimize_kernels.on(device).adamw(ordered, options);
  for (AdamwTensors& t : tensors) {
    t.parameter.bump_version();
    t.exp_avg.bump_version();
    t.exp_avg_sq.bump_version();
  }
}

void sgd_update(std::span<SgdTensors> tensors, const SgdOptions& options) {
  constexpr const char* op = "sgd_update";
  if (tensors.empty()) return;
  const Device device = tensors.front().parameter.device();
  for (const SgdTensors& t : tensors) {
    check_changed(op, "parameter", t.parameter, device);
    check_like(op, "parameter", t.parameter, "grad", t.grad);
    if (options.momentum != 0 || t.momentum_buffer.defined()) {
      check_state(op, t.parameter, "momentum_buffer", t.momentum_buffer);
    }
  }
  std::vector<SgdTensors> ordered(tensors.begin(), tensors.end());
  for (SgdTensors& t : ordered) t.grad = in_order_of(t.parameter, t.grad);
  optimize_kernels.on(device).sgd(ordered, options);
  for (SgdTensors& t : tensors) {
    t.parameter.bump_version();
    if (t.momentum_buffer.defined()) t.momentum_buffer.bump_version();
  }
}

void ema_update(std::span<const Tensor> values, std::span<Tensor> averages, double decay) {
  constexpr const char* op = "ema_update";
  if (values.size() != averages.size()) {
    throw ShapeError(str('[', op, "] averages: expected ", values.size(),
                         " tensors, one per value, got ", averages.size()));
  }
  if (values.empty()) return;
  const Device device = averages.front().device();
  std::vector<Tensor> ordered;
  for (size_t i = 0; i < values.size(); ++i) {
    check_changed(op, "averages", averages[i], device);
    check_like(op, "averages", averages[i], "values", values[i]);
    ordered.push_back(in_order_of(averages[i], values[i]));
  }
  optimize_kernels.on(device).ema(ordered, averages, decay);
  for (Tensor& a : averages) a.bump_version();
}

double sum_of_squares(std::span<const Tensor> tensors) {
  if (tensors.empty()) return 0;
  std::vector<Tensor> packed;
  for (const Tensor& t : tensors) {
    check_floating("sum_of_squares", "tensors", t);
    packed.push_back(dense(t));
  }
  return optimize_kernels.on(tensors.front().device()).sum_of_squares(packed);
}

}  // namespace vtrain
