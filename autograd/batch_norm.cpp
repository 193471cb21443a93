#include "autograd/batch_norm.h"

namespace vtrain {

Variable batch_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const Variable& residual, const Variable& running_mean,
                    const Variable& running_var, const BatchNormOptions& options) {
  const auto optional = [](const Variable& v) { return v.defined() ? v.value() : Tensor(); };
  const bool has_residual = residual.defined();
  const auto [y, mean, rstd] =
      batch_norm(x.value(), optional(weight), optional(bias), optional(residual),
                 optional(running_mean), optional(running_var), options);
  const bool reads_y = batch_norm_grad_reads_y(options.activation, has_residual);
  const Saved kept_x = x.value(), kept_w = optional(weight), kept_b = optional(bias);
  Variable result = Variable::from(
      {"batch_norm",
       {{"eps", options.eps},
        {"momentum", options.momentum},
        {"is_training", options.statistics == BatchNormStatistics::kBatch},
        {"activation", static_cast<double>(options.activation)}}},
      y, {x, weight, bias, residual, running_mean, running_var},
      [x = kept_x, w = kept_w, b = kept_b, y = Saved(reads_y ? y : Tensor()), mean = mean,
       rstd = rstd, has_residual, options](const Tensor& dy) {
        const auto grads = batch_norm_grad(x.get(), w.get(), b.get(), {y.get(), mean, rstd},
                                           has_residual, dy, options);
        return Grads{grads.dx, grads.dweight, grads.dbias, grads.dresidual, Tensor(), Tensor()};
      });
  if (!has_residual) {
    result.set_again([x = kept_x, w = kept_w, b = kept_b, mean = mean, rstd = rstd,
                      activation = options.activation] {
      return batch_norm_again(x.get(), w.get(), b.get(), mean, rstd, activation);
    });
  }
  return result;
}

}  // namespace vtrain
