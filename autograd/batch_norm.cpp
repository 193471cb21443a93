#include "autograd/batch_norm.h"

#include <memory>

namespace vtrain {
namespace {

/// An output is computed again from its residual, which may be computed again itself. Two in a row
/// keep every third output of a chain of blocks; without a bound the last block's backward would
/// bring all of them back at once.
constexpr int kDeepest = 2;

}  // namespace

Variable batch_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const Variable& residual, const Variable& running_mean,
                    const Variable& running_var, const BatchNormOptions& options) {
  const auto optional = [](const Variable& v) { return v.defined() ? v.value() : Tensor(); };
  const bool has_residual = residual.defined();
  const auto [y, mean, rstd] =
      batch_norm(x.value(), optional(weight), optional(bias), optional(residual),
                 optional(running_mean), optional(running_var), options);
  const Saved kept_x = x.value(), kept_w = optional(weight), kept_b = optional(bias);
  const int depth = has_residual ? residual.again_depth() + 1 : 1;
  std::function<Tensor()> again;
  if (!has_residual) {
    again = [x = kept_x, w = kept_w, b = kept_b, mean = mean, rstd = rstd,
             activation = options.activation] {
      return batch_norm_again(x.get(), w.get(), b.get(), {}, mean, rstd, activation);
    };
  } else if (depth <= kDeepest) {
    // Several read it, soon after one another: the next convolution, the next sum, and the mask
    // here, which is the last and frees it.
    again = [x = kept_x, w = kept_w, b = kept_b, residual = Saved(residual), mean = mean,
             rstd = rstd, activation = options.activation, memo = std::make_shared<Tensor>()] {
      if (!memo->defined())
        *memo = batch_norm_again(x.get(), w.get(), b.get(), residual.get(), mean, rstd, activation);
      return *memo;
    };
  }
  const bool reads_y = batch_norm_grad_reads_y(options.activation, has_residual);
  Variable result = Variable::from(
      {"batch_norm",
       {{"eps", options.eps},
        {"momentum", options.momentum},
        {"is_training", options.statistics == BatchNormStatistics::kBatch},
        {"activation", static_cast<double>(options.activation)}}},
      y, {x, weight, bias, residual, running_mean, running_var},
      [x = kept_x, w = kept_w, b = kept_b, y = Saved(reads_y && !again ? y : Tensor()),
       again = reads_y ? again : nullptr, mean = mean, rstd = rstd, has_residual,
       options](const Tensor& dy) {
        const auto grads =
            batch_norm_grad(x.get(), w.get(), b.get(), {again ? again() : y.get(), mean, rstd},
                            has_residual, dy, options);
        return Grads{grads.dx, grads.dweight, grads.dbias, grads.dresidual, Tensor(), Tensor()};
      });
  if (again) result.set_again(again, depth);
  return result;
}

}  // namespace vtrain
