#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Over which keys a row's maximum is taken before the exponential. kAll is what DynamicViT's code
/// does: a hidden key with a large logit then makes the row's sum tiny. It is here to reproduce
/// that code's numbers.
enum class MaskMax { kKept, kAll };

struct AttentionOptions {
  int64_t num_heads;
  int64_t qk_dim, v_dim;  // of one head
  double scale;           // of q k, commonly 1 / sqrt(qk_dim)
  double mask_eps = 0;
  MaskMax mask_max = MaskMax::kKept;
};

struct Attention {
  Tensor out;  // (N, L, heads * v_dim)
  // (N, heads, L), f32 beside bf16: what the gradient recomputes the probabilities from
  Tensor row_max, row_sum;
};
struct AttentionGrads {
  Tensor dqkv, dmask, dkey_bias;  // as the inputs; the latter two undefined where the input was
};

/// Multi-head self-attention with an optional token mask m and an optional bias b per key. Per
/// image and head:
///   a_ij = scale * q_i k_j + b_j        M_ij = 1 if i == j, else m_j        E_ij = exp(a_ij - max)
///   S_i = sum_j E_ij M_ij A_ij = (E_ij M_ij + mask_eps / L) / (S_i + mask_eps) out_i = sum_j A_ij
///   v_j
/// Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; the mask is that of
/// Rao et al., "DynamicViT", NeurIPS 2021, arXiv:2106.02034: a hidden token (m = 0) still sees
/// itself, so no row is empty. The maximum is over the keys with m > 0 and the query itself
/// (kKept), or over all (kAll).
///   qkv       f32, f64 or bf16 (N, L, heads * (2 qk_dim + v_dim)); a row holds q of all heads,
///             then k of all heads, then v of all heads
///   mask      (N, L) like qkv, f32 beside bf16; 1 = visible; undefined = all visible. All ones
///             give the same bits as an undefined mask.
///   key_bias  (N, L) like mask; undefined = 0. -inf hides a key from every query, itself included:
///             leave each row a finite one.
/// bf16 is widened in cache: products, softmax and probabilities are f32, results are rounded once.
/// Scores never reach memory. mask_eps > 0 or kAll run through the slow reference kernel. Throws
/// ShapeError.
Attention attention(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                    const AttentionOptions& options);

/// With G_ij = dout_i v_j, r_i = sum_j G_ij A_ij, B_ij = (G_ij - r_i) / (S_i + mask_eps), the
/// maximum held constant:
///   da_ij = B_ij E_ij M_ij      dm_j = sum over heads and i != j of B_ij E_ij      db_j = sum over
///   heads and i of da_ij
/// and dq, dk, dv from da and A as usual. Under kKept a hidden key may have E > 1; in dm its
/// exponent is clipped at 0, which keeps the sign and bounds the size.
AttentionGrads attention_grad(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                              const AttentionOptions& options, const Attention& saved,
                              const Tensor& dout);

/// A (N, heads, L, L), query by key, f32 for bf16: for methods that look at it. Reference speed.
Tensor attention_map(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                     const AttentionOptions& options, const Attention& saved);

struct AttentionKernels {  // on contiguous tensors
  Attention (*forward)(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                       const AttentionOptions& options);
  AttentionGrads (*grad)(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                         const AttentionOptions& options, const Attention& saved,
                         const Tensor& dout);
  Tensor (*map)(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                const AttentionOptions& options, const Attention& saved);
};
inline constinit PerDevice<AttentionKernels> attention_kernels{"attention"};

}  // namespace vtrain
