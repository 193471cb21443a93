#include "tensor/ops/batch_norm.h"

namespace vtrain {
namespace {

void check_rows(const char* op, const Tensor& x, const BatchNormOptions& options) {
  check_real(op, "x", x);
  if (x.ndim() != 2 && x.ndim() != 4)
    throw ShapeError(str('[', op, "] x ", x.shape(), ": expected (N, C, H, W) or (N, C)"));
  const bool is_batch = options.statistics == BatchNormStatistics::kBatch;
  const int64_t least = is_batch ? 2 : 1;
  if (x.numel() < least * x.dim(1) || x.dim(1) == 0) {
    throw ShapeError(str('[', op, "] x ", x.shape(), ": expected at least ", least, " element",
                         is_batch ? "s" : "", " per channel"));
  }
}

/// Contiguous, or undefined if it was.
Tensor vector_of(const char* op, const char* name, const Tensor& v, const Tensor& x) {
  if (!v.defined()) return v;
  check_wide_dtype(op, "x", x, name, v);
  if (v.shape() != Shape{x.dim(1)}) {
    throw ShapeError(str('[', op, "] ", name, ' ', v.shape(), ": expected (", x.dim(1),
                         "), one per channel of x ", x.shape()));
  }
  return v.contiguous();
}

/// x, or a copy, with the channels of a position side by side in memory.
Tensor rows_of(const Tensor& x) { return x.ndim() == 4 ? x.channels_last() : x.contiguous(); }

Tensor rows_like(const char* op, const char* name, const Tensor& v, const Tensor& x) {
  if (!v.defined()) return v;
  check_same_shape(op, "x", x, name, v);
  check_same_dtype(op, "x", x, name, v);
  return rows_of(v);
}

/// A statistic that is edited in place must be what its owner holds, not a copy.
void check_running(const char* op, const char* name, const Tensor& v, const Tensor& x,
                   const BatchNormOptions& options) {
  if (options.statistics == BatchNormStatistics::kRunning && !v.defined())
    throw ShapeError(str('[', op, "] ", name, ": is undefined"));
  const Tensor packed = vector_of(op, name, v, x);
  if (v.defined() && !v.is_contiguous())
    throw ShapeError(str('[', op, "] ", name, ": expected contiguous elements"));
}

}  // namespace

BatchNormOutput batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Tensor& residual, Tensor running_mean, Tensor running_var,
                           const BatchNormOptions& options) {
  constexpr const char* op = "batch_norm";
  check_rows(op, x, options);
  check_running(op, "running_mean", running_mean, x, options);
  check_running(op, "running_var", running_var, x, options);
  if (running_mean.defined() != running_var.defined())
    throw ShapeError(str('[', op, "] running_var: expected to be given with running_mean"));
  BatchNormOutput result =
      batch_norm_kernels.on(x.device())
          .forward(rows_of(x), vector_of(op, "weight", weight, x), vector_of(op, "bias", bias, x),
                   rows_like(op, "residual", residual, x), running_mean, running_var, options);
  if (options.statistics == BatchNormStatistics::kBatch && running_mean.defined()) {
    running_mean.bump_version();
    running_var.bump_version();
  }
  return result;
}

Tensor batch_norm_again(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const Tensor& residual, const Tensor& mean, const Tensor& rstd,
                        BatchNormActivation activation) {
  constexpr const char* op = "batch_norm_again";
  check_rows(op, x, {.statistics = BatchNormStatistics::kRunning});
  check_real(op, "mean", mean);
  check_real(op, "rstd", rstd);
  return batch_norm_kernels.on(x.device())
      .again(rows_of(x), vector_of(op, "weight", weight, x), vector_of(op, "bias", bias, x),
             rows_like(op, "residual", residual, x), vector_of(op, "mean", mean, x),
             vector_of(op, "rstd", rstd, x), activation);
}

BatchNormGrads batch_norm_grad(const Tensor& x, const Tensor& weight, const Tensor& bias,
                               const BatchNormOutput& saved, bool has_residual, const Tensor& dy,
                               const BatchNormOptions& options) {
  constexpr const char* op = "batch_norm_grad";
  check_rows(op, x, options);
  check_real(op, "dy", dy);
  check_real(op, "mean", saved.mean);
  check_real(op, "rstd", saved.rstd);
  if (batch_norm_grad_reads_y(options.activation, has_residual)) check_real(op, "y", saved.y);
  const BatchNormOutput rows{rows_like(op, "y", saved.y, x), vector_of(op, "mean", saved.mean, x),
                             vector_of(op, "rstd", saved.rstd, x)};
  return batch_norm_kernels.on(x.device())
      .grad(rows_of(x), vector_of(op, "weight", weight, x), vector_of(op, "bias", bias, x), rows,
            has_residual, rows_like(op, "dy", dy, x), options);
}

}  // namespace vtrain
