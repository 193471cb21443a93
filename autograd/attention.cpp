#include "autograd/attention.h"

namespace vtrain {

Variable attention(const Variable& qkv, const Variable& mask, const Variable& key_bias,
                   const AttentionOptions& options) {
  const Tensor m = mask.defined() ? mask.value() : Tensor(),
               bias = key_bias.defined() ? key_bias.value() : Tensor();
  const Attention saved = attention(qkv.value(), m, bias, options);
  const int64_t samples = qkv.dim(0), length = qkv.dim(1);
  Op op{"attention",
        {{"num_heads", static_cast<double>(options.num_heads)},
         {"qk_dim", static_cast<double>(options.qk_dim)},
         {"v_dim", static_cast<double>(options.v_dim)},
         {"scale", options.scale},
         {"mask_eps", options.mask_eps},
         {"mask_max_is_all", options.mask_max == MaskMax::kAll}},
        samples * options.num_heads * length * length * (options.qk_dim + options.v_dim)};
  return Variable::from(std::move(op), saved.out, {qkv, mask, key_bias},
                        [qkv = Saved(qkv.value()), m = Saved(m), bias = Saved(bias), saved,
                         options](const Tensor& dy) {
                          const AttentionGrads grads =
                              attention_grad(qkv.get(), m.get(), bias.get(), options, saved, dy);
                          return Grads{grads.dqkv, grads.dmask, grads.dkey_bias};
                        });
}

}  // namespace vtrain
