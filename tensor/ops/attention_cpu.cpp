#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/cpu_level.h"
#include "tensor/dispatch.h"
#include "tensor/ops/attention.h"
#include "tensor/ops/attention_simd.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

template <class T>
const AttentionLoops<T>& loops() {
  const AttentionSimd& simd = by_level(baseline::attention_simd, avx2::attention_simd,
                                       avx512::attention_simd, avx512_bf16::attention_simd);
  if constexpr (std::is_same_v<T, float>) {
    return simd.f32;
  } else {
    return simd.bf16;
  }
}

namespace reference {
/// One (image, head): row i of q is q + i * stride, and so for k, v; rows of out and dout are
/// out_stride apart.
template <class T>
struct Head {
  const T *q, *k, *v;
  int64_t stride, out_stride, length, qk_dim, v_dim;
  const T *mask, *bias;  // (L) or null
  T scale, eps;
  bool max_over_all;

  T logit(int64_t i, int64_t j) const {
    T dot = 0;
    for (int64_t c = 0; c < qk_dim; ++c) dot += q[i * stride + c] * k[j * stride + c];
    return scale * dot + (bias ? bias[j] : T(0));
  }
  T weight(int64_t i, int64_t j) const { return mask && i != j ? mask[j] : T(1); }  // M_ij
  bool is_hidden(int64_t i, int64_t j) const { return !(weight(i, j) > 0); }
  /// A_ij from E_ij.
  T probability(T e, int64_t i, int64_t j, T sum) const {
    return (e * weight(i, j) + eps / static_cast<T>(length)) / (sum + eps);
  }
};

template <class T>
T exponential(T x) {  // of a hidden key's logit x may be large; it is multiplied by 0
  return std::exp(std::min(x, T(80)));
}

/// Sums run over keys in ascending order, so that hidden keys, which add exact zeros, leave the
/// bits that the visible ones alone give.
template <class T>
void forward(const Head<T>& h, T* out, T* row_max, T* row_sum, std::vector<T>& row) {
  for (int64_t i = 0; i < h.length; ++i) {
    T top = -std::numeric_limits<T>::infinity(), sum = 0;
    for (int64_t j = 0; j < h.length; ++j) {
      row[static_cast<size_t>(j)] = h.logit(i, j);
      if (h.max_over_all || !h.is_hidden(i, j)) top = std::max(top, row[static_cast<size_t>(j)]);
    }
    for (int64_t j = 0; j < h.length; ++j) {
      T& e = row[static_cast<size_t>(j)];
      e = exponential(e - top);
      sum += e * h.weight(i, j);
    }
    T* const y = out + i * h.out_stride;
    std::fill_n(y, h.v_dim, T(0));
    for (int64_t j = 0; j < h.length; ++j) {
      const T p = h.probability(row[static_cast<size_t>(j)], i, j, sum);
      for (int64_t c = 0; c < h.v_dim; ++c) y[c] += p * h.v[j * h.stride + c];
    }
    row_max[i] = top;
    row_sum[i] = sum;
  }
}

/// dq, dk, dv start as zeros and are laid out like q, k, v; dmask and dbias (L) start as zeros or
/// are null.
template <class T>
void backward(const Head<T>& h, const T* row_max, const T* row_sum, const T* dout, T* dq, T* dk,
              T* dv, T* dmask, T* dbias, std::vector<T>& e, std::vector<T>& g) {
  for (int64_t i = 0; i < h.length; ++i) {
    const T* const slope = dout + i * h.out_stride;
    T dot = 0;  // r_i
    for (int64_t j = 0; j < h.length; ++j) {
      T& e_j = e[static_cast<size_t>(j)];
      T& g_j = g[static_cast<size_t>(j)];
      const T x = h.logit(i, j) - row_max[i];
      e_j = std::exp(h.is_hidden(i, j) ? std::min(x, T(0)) : x);
      g_j = 0;
      for (int64_t c = 0; c < h.v_dim; ++c) g_j += slope[c] * h.v[j * h.stride + c];
      const T p = h.probability(e_j, i, j, row_sum[i]);
      for (int64_t c = 0; c < h.v_dim; ++c) dv[j * h.stride + c] += p * slope[c];
      dot += g_j * p;
    }
    for (int64_t j = 0; j < h.length; ++j) {
      const T be =
          (g[static_cast<size_t>(j)] - dot) / (row_sum[i] + h.eps) * e[static_cast<size_t>(j)];
      const T da = be * h.weight(i, j);
      if (dmask && i != j) dmask[j] += be;
      if (dbias) dbias[j] += da;
      for (int64_t c = 0; c < h.qk_dim; ++c) {
        dq[i * h.stride + c] += da * h.scale * h.k[j * h.stride + c];
        dk[j * h.stride + c] += da * h.scale * h.q[i * h.stride + c];
      }
    }
  }
}

template <class T>
void map(const Head<T>& h, const T* row_max, const T* row_sum, T* probabilities) {
  for (int64_t i = 0; i < h.length; ++i) {
    for (int64_t j = 0; j < h.length; ++j) {
      probabilities[i * h.length + j] =
          h.probability(exponential(h.logit(i, j) - row_max[i]), i, j, row_sum[i]);
    }
  }
}
}  // namespace reference

/// The sizes of a call, and where a task's parts begin in the packed tensors.
struct Layout {
  Layout(const Tensor& qkv, const AttentionOptions& o)
      : images(qkv.dim(0)),
        length(qkv.dim(1)),
        heads(o.num_heads),
        qk_dim(o.qk_dim),
        v_dim(o.v_dim) {}
  int64_t images, length, heads, qk_dim, v_dim;

  int64_t tasks() const { return length > 0 ? images * heads : 0; }
  int64_t row() const { return heads * (2 * qk_dim + v_dim); }
  int64_t out_row() const { return heads * v_dim; }
  int64_t q(int64_t task) const { return task / heads * length * row() + task % heads * qk_dim; }
  int64_t k(int64_t task) const { return q(task) + heads * qk_dim; }
  int64_t v(int64_t task) const {
    return task / heads * length * row() + 2 * heads * qk_dim + task % heads * v_dim;
  }
  int64_t out(int64_t task) const {
    return task / heads * length * out_row() + task % heads * v_dim;
  }
  int64_t keys(int64_t task) const { return task / heads * length; }
  int64_t grain() const {  // a thread is worth starting for a few hundred thousand multiplications
    return std::max<int64_t>(200000 / (length * length * (qk_dim + v_dim) + 1), 1);
  }
};

template <class T>
T* data_or_null(Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}
template <class T>
const T* data_or_null(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

template <class T>
reference::Head<T> head_of(const Layout& at, int64_t task, const Tensor& qkv, const Tensor& mask,
                           const Tensor& key_bias, const AttentionOptions& o) {
  const T* const x = qkv.data<T>();
  return {.q = x + at.q(task),
          .k = x + at.k(task),
          .v = x + at.v(task),
          .stride = at.row(),
          .out_stride = at.out_row(),
          .length = at.length,
          .qk_dim = at.qk_dim,
          .v_dim = at.v_dim,
          .mask = mask.defined() ? mask.data<T>() + at.keys(task) : nullptr,
          .bias = key_bias.defined() ? key_bias.data<T>() + at.keys(task) : nullptr,
          .scale = static_cast<T>(o.scale),
          .eps = static_cast<T>(o.mask_eps),
          .max_over_all = o.mask_max == MaskMax::kAll};
}

bool takes_simd(const Tensor& qkv, const Tensor& mask, const AttentionOptions& o) {
  return qkv.dtype() != DType::f64 && o.mask_eps == 0 &&
         (o.mask_max == MaskMax::kKept || !mask.defined());
}

template <class T>
AttentionArrays<T> arrays_of(const Layout& at, const Tensor& qkv, const Tensor& mask,
                             const Tensor& key_bias, const AttentionOptions& o) {
  AttentionArrays<T> arrays{};
  arrays.qkv = qkv.data<T>();
  arrays.mask = data_or_null<float>(mask);
  arrays.key_bias = data_or_null<float>(key_bias);
  arrays.heads = at.heads;
  arrays.length = at.length;
  arrays.qk_dim = at.qk_dim;
  arrays.v_dim = at.v_dim;
  arrays.scale = static_cast<float>(o.scale);
  return arrays;
}

template <class T>
using Range = void (*)(const AttentionArrays<T>& arrays, int64_t begin, int64_t end,
                       float* scratch);
template <class T>
void run_simd(const Layout& at, const AttentionArrays<T>& arrays, Range<T> range) {
  const int64_t each = loops<T>().scratch(arrays);
  Tensor scratch = Tensor::empty({num_threads(), each});
  float* const memory = scratch.data<float>();
  parallel_for(at.tasks(), at.grain(), [&](int64_t begin, int64_t end, int thread) {
    range(arrays, begin, end, memory + thread * each);
  });
}

template <class T>
void forward_simd(const Layout& at, const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                  const AttentionOptions& o, Attention& result) {
  AttentionArrays<T> arrays = arrays_of<T>(at, qkv, mask, key_bias, o);
  arrays.out = result.out.data<T>();
  arrays.row_max = result.row_max.data<float>();
  arrays.row_sum = result.row_sum.data<float>();
  run_simd(at, arrays, loops<T>().forward);
}

Attention forward(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                  const AttentionOptions& o) {
  const bool is_bf16 = qkv.dtype() == DType::bf16, is_fast = takes_simd(qkv, mask, o);
  if (is_bf16 && !is_fast) {
    Attention wide = forward(qkv.to(DType::f32), mask, key_bias, o);
    wide.out = wide.out.to(DType::bf16);
    return wide;
  }
  const Layout at(qkv, o);
  const DType wide = wide_of(qkv.dtype());
  Attention result{Tensor::empty({at.images, at.length, at.out_row()}, qkv.dtype(), qkv.device()),
                   Tensor::empty({at.images, at.heads, at.length}, wide, qkv.device()),
                   Tensor::empty({at.images, at.heads, at.length}, wide, qkv.device())};
  if (is_fast) {
    if (is_bf16) {
      forward_simd<BFloat16>(at, qkv, mask, key_bias, o, result);
    } else {
      forward_simd<float>(at, qkv, mask, key_bias, o, result);
    }
    return result;
  }
  dispatch_floating("attention", qkv.dtype(), [&]<class T>(T) {
    T *const out = result.out.data<T>(), *const top = result.row_max.data<T>(),
             *const sum = result.row_sum.data<T>();
    parallel_for(at.tasks(), at.grain(), [&](int64_t begin, int64_t end) {
      std::vector<T> row(static_cast<size_t>(at.length));
      for (int64_t task = begin; task < end; ++task) {
        reference::forward(head_of<T>(at, task, qkv, mask, key_bias, o), out + at.out(task),
                           top + task * at.length, sum + task * at.length, row);
      }
    });
  });
  return result;
}

/// (N, heads, L) -> (N, L)
Tensor sum_of_heads(const Tensor& parts) {
  const int64_t images = parts.dim(0), heads = parts.dim(1), length = parts.dim(2);
  Tensor total = zeros({images, length}, parts.dtype(), parts.device());
  dispatch_floating("attention_grad", parts.dtype(), [&]<class T>(T) {
    const T* from = parts.data<T>();
    T* const to = total.data<T>();
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t h = 0; h < heads; ++h, from += length) {
        for (int64_t j = 0; j < length; ++j) to[n * length + j] += from[j];
      }
    }
  });
  return total;
}

template <class T>
void grad_simd(const Layout& at, const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
               const AttentionOptions& o, Attention saved, const Tensor& dout, Tensor& dqkv,
               Tensor& dmask, Tensor& dbias) {
  AttentionArrays<T> arrays = arrays_of<T>(at, qkv, mask, key_bias, o);
  arrays.row_max = saved.row_max.data<float>();
  arrays.row_sum = saved.row_sum.data<float>();
  arrays.dout = dout.data<T>();
  arrays.dqkv = dqkv.data<T>();
  arrays.dmask = data_or_null<float>(dmask);
  arrays.dkey_bias = data_or_null<float>(dbias);
  run_simd(at, arrays, loops<T>().backward);
}

AttentionGrads grad(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias,
                    const AttentionOptions& o, const Attention& saved, const Tensor& dout) {
  const bool is_bf16 = qkv.dtype() == DType::bf16, is_fast = takes_simd(qkv, mask, o);
  if (is_bf16 && !is_fast) {
    AttentionGrads wide = grad(qkv.to(DType::f32), mask, key_bias, o, saved, dout.to(DType::f32));
    wide.dqkv = wide.dqkv.to(DType::bf16);
    return wide;
  }
  const Layout at(qkv, o);
  const DType wide = wide_of(qkv.dtype());
  Tensor dqkv, dmask, dbias;  // the last two per head
  if (mask.defined()) dmask = zeros({at.images, at.heads, at.length}, wide, qkv.device());
  if (key_bias.defined()) dbias = zeros({at.images, at.heads, at.length}, wide, qkv.device());
  if (is_fast) {
    dqkv = empty_like(qkv);
    if (is_bf16) {
      grad_simd<BFloat16>(at, qkv, mask, key_bias, o, saved, dout, dqkv, dmask, dbias);
    } else {
      grad_simd<float>(at, qkv, mask, key_bias, o, saved, dout, dqkv, dmask, dbias);
    }
  } else {
    dqkv = zeros_like(qkv);
    dispatch_floating("attention_grad", qkv.dtype(), [&]<class T>(T) {
      T *const dx = dqkv.data<T>(), *const dm = data_or_null<T>(dmask),
               *const db = data_or_null<T>(dbias);
      const T *const slope = dout.data<T>(), *const top = saved.row_max.data<T>(),
                     *const sum = saved.row_sum.data<T>();
      parallel_for(at.tasks(), at.grain(), [&](int64_t begin, int64_t end) {
        std::vector<T> e(static_cast<size_t>(at.length)), g(e);
        for (int64_t task = begin; task < end; ++task) {
          const int64_t row = task * at.length;
          reference::backward(head_of<T>(at, task, qkv, mask, key_bias, o), top + row, sum + row,
                              slope + at.out(task), dx + at.q(task), dx + at.k(task),
                              dx + at.v(task), dm ? dm + row : nullptr, db ? db + row : nullptr, e,
                              g);
        }
      });
    });
  }
  return {dqkv, dmask.defined() ? sum_of_heads(dmask) : dmask,
          dbias.defined() ? sum_of_heads(dbias) : dbias};
}

Tensor map(const Tensor& qkv, const Tensor& mask, const Tensor& key_bias, const AttentionOptions& o,
           const Attention& saved) {
  if (qkv.dtype() == DType::bf16) return map(qkv.to(DType::f32), mask, key_bias, o, saved);
  const Layout at(qkv, o);
  Tensor result =
      Tensor::empty({at.images, at.heads, at.length, at.length}, qkv.dtype(), qkv.device());
  dispatch_floating("attention_map", qkv.dtype(), [&]<class T>(T) {
    T* const p = result.data<T>();
    const T *const top = saved.row_max.data<T>(), *const sum = saved.row_sum.data<T>();
    parallel_for(at.tasks(), at.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task * at.length;
        reference::map(head_of<T>(at, task, qkv, mask, key_bias, o), top + row, sum + row,
                       p + row * at.length);
      }
    });
  });
  return result;
}

const bool registered = attention_kernels.add(DeviceType::cpu(), {forward, grad, map});

}  // namespace
}  // namespace vtrain
