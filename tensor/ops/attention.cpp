#include "tensor/ops/attention.h"

namespace vtrain {
namespace {

void check_qkv(const char* op, const Tensor& qkv, const AttentionOptions& o) {
  check_real(op, "qkv", qkv);
  if (o.num_heads < 1 || o.qk_dim < 1 || o.v_dim < 1) {
    throw ShapeError(str('[', op,
                         "] options: expected num_heads, qk_dim and v_dim of at least 1, got ",
                         o.num_heads, ", ", o.qk_dim, " and ", o.v_dim));
  }
  const int64_t width = o.num_heads * (2 * o.qk_dim + o.v_dim);
  if (qkv.ndim() != 3 || qkv.dim(2) != width) {
    throw ShapeError(str('[', op, "] qkv: expected (N, L, ", width, ") for ", o.num_heads,
                         " heads with qk_dim ", o.qk_dim, " and v_dim ", o.v_dim, ", got ",
                         qkv.shape()));
  }
  if (!(o.mask_eps >= 0))
    throw ShapeError(str('[', op, "] mask_eps: expected at least 0, got ", o.mask_eps));
}

Tensor of_shape(const char* op, const char* name, const Tensor& x, const Tensor& qkv,
                const Shape& shape) {
  if (x.shape() != shape) {
    throw ShapeError(str('[', op, "] ", name, ": expected ", shape, " for qkv ", qkv.shape(),
                         ", got ", x.shape()));
  }
  return x.contiguous();
}
/// Contiguous, in qkv's wide dtype.
Tensor wide(const char* op, const char* name, const Tensor& x, const Tensor& qkv,
            const Shape& shape) {
  check_floating(op, name, x);
  check_wide_dtype(op, "qkv", qkv, name, x);
  return of_shape(op, name, x, qkv, shape);
}
Tensor per_key(const char* op, const char* name, const Tensor& x, const Tensor& qkv) {
  return x.defined() ? wide(op, name, x, qkv, {qkv.dim(0), qkv.dim(1)}) : x;
}

Attention checked(const char* op, const Attention& saved, const Tensor& qkv,
                  const AttentionOptions& o) {
  const Shape rows{qkv.dim(0), o.num_heads, qkv.dim(1)};
  return {saved.out, wide(op, "row_max", saved.row_max, qkv, rows),
          wide(op, "row_sum", saved.row_sum, qkv, rows)};
}

}  // namespace

Attention attention(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                    const AttentionOptions& options) {
  constexpr const char* op = "attention";
  check_qkv(op, qkv, options);
  return attention_kernels.on(qkv.device())
      .forward(qkv.contiguous(), per_key(op, "mask", mask, qkv),
               per_key(op, "key_bias", key_bias, qkv), options);
}

AttentionGrads attention_grad(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                              const AttentionOptions& options, const Attention& saved,
                              const Tensor& dout) {
  constexpr const char* op = "attention_grad";
  check_qkv(op, qkv, options);
  const Shape out{qkv.dim(0), qkv.dim(1), options.num_heads * options.v_dim};
  check_real(op, "dout", dout);
  check_same_dtype(op, "qkv", qkv, "dout", dout);
  return attention_kernels.on(qkv.device())
      .grad(qkv.contiguous(), per_key(op, "mask", mask, qkv),
            per_key(op, "key_bias", key_bias, qkv), options, checked(op, saved, qkv, options),
            of_shape(op, "dout", dout, qkv, out));
}

Tensor attention_map(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                     const AttentionOptions& options, const Attention& saved) {
  constexpr const char* op = "attention_map";
  check_qkv(op, qkv, options);
  return attention_kernels.on(qkv.device())
      .map(qkv.contiguous(), per_key(op, "mask", mask, qkv), per_key(op, "key_bias", key_bias, qkv),
           options, checked(op, saved, qkv, options));
}

}  // namespace vtrain
